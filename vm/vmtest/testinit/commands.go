package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

func (m *machine) echo(args []string) error {
	_, err := io.CopyN(m.home, m.in, int64(number(args, 0)))
	return err
}

func (m *machine) sink(args []string) error {
	n, block, rest := number(args, 0), number(args, 1), time.Duration(number(args, 2))*time.Millisecond
	h := sha256.New()
	for n > 0 {
		k, err := io.CopyN(h, m.in, int64(min(n, block)))
		if err != nil {
			return err
		}
		n -= int(k)
		if rest > 0 {
			time.Sleep(rest)
		}
	}
	return m.answer(hex.EncodeToString(h.Sum(nil)))
}

func (m *machine) source(args []string) error {
	var seed [32]byte
	copy(seed[:], args[1])
	_, err := io.CopyN(m.home, rand.NewChaCha8(seed), int64(number(args, 0)))
	return err
}

func (m *machine) hash(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, int64(number(args, 1)), int64(number(args, 2)))); err != nil {
		return err
	}
	return m.answer(hex.EncodeToString(h.Sum(nil)))
}

func (m *machine) write(args []string) error {
	f, err := os.OpenFile(args[0], os.O_WRONLY, 0)
	if err != nil {
		return m.answer(err.Error())
	}
	defer f.Close()
	b, err := hex.DecodeString(args[2])
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, int64(number(args, 1))); err != nil {
		return m.answer(err.Error())
	}
	if err := f.Sync(); err != nil {
		return m.answer(err.Error())
	}
	return m.answer("ok")
}

func (m *machine) touch(args []string) error {
	b, err := unix.Mmap(-1, 0, number(args, 0), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return m.answer(err.Error())
	}
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	if err := unix.Munmap(b); err != nil {
		return err
	}
	return m.answer("ok")
}

func (m *machine) print(args []string) error {
	fmt.Println(args[0])
	return m.answer("ok")
}

func (m *machine) flood(args []string) error {
	line := make([]byte, 64)
	for i := range line {
		line[i] = 'x'
	}
	line[63] = '\n'
	for n := number(args, 0); n > 0; n -= len(line) {
		if _, err := os.Stdout.Write(line); err != nil {
			return err
		}
	}
	return m.answer("ok")
}

// fork leaves busy processes: copies of this program whose home is no home.
func (m *machine) fork(args []string) error {
	for range number(args, 0) {
		c := exec.Command("/proc/self/exe")
		c.Env = []string{"ORE_TEST_SPIN=1"}
		c.Stdout = os.Stdout
		if err := c.Start(); err != nil {
			return err
		}
	}
	return m.answer("ok")
}

func (m *machine) panic([]string) error {
	if !m.real {
		fmt.Println("Kernel panic - not syncing: sysrq triggered crash")
		os.Exit(70)
	}
	// PID 1 that exits is a panic; sysrq would need a keyboard's permission.
	os.Exit(1)
	return nil
}

func (m *machine) reboot([]string) error {
	if !m.real {
		os.Exit(0)
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

func (m *machine) off() {
	if !m.real {
		os.Exit(0)
	}
	unix.Sync()
	fmt.Println("testinit:", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}
