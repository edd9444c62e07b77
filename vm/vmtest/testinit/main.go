// Command testinit is the first process of the machines that the conformance
// suite of vm starts, and the process that stands for such a machine in the
// Fake. It says on home what it found and then does what it is told, one line
// of text a command. It is for tests only and knows nothing of ore-init.
//
// The first line on home is "ready " and a [Facts] as JSON. Each command is a
// verb and its arguments, separated by spaces; see the table in commands.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"ore/vm/home"
)

func main() {
	if os.Getenv("ORE_TEST_SPIN") != "" {
		for {
		}
	}
	m, err := open()
	if err != nil {
		fmt.Println("testinit:", err)
		m.off()
		return
	}
	if err := m.serve(); err != nil {
		fmt.Println("testinit:", err)
	}
	m.off()
}

// machine is what the commands work on.
type machine struct {
	real bool // we are PID 1 of a kernel, not a process of the host
	home io.ReadWriter
	in   *bufio.Reader
}

func open() (*machine, error) {
	m := &machine{real: os.Getpid() == 1 && os.Getenv("ORE_TEST_FAKE") == ""}
	var err error
	if !m.real {
		m.home = os.NewFile(3, "home")
	} else if err = prepare(); err == nil {
		m.home, err = home.Open()
	}
	if err != nil {
		return m, err
	}
	m.in = bufio.NewReaderSize(m.home, 64<<10)
	return m, nil
}

func (m *machine) serve() error {
	if err := m.ready(); err != nil {
		return err
	}
	for {
		l, err := m.in.ReadString('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := m.do(strings.Fields(l)); err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSpace(l), err)
		}
	}
}

// do carries one command out.
func (m *machine) do(words []string) error {
	f, ok := commands()[words[0]]
	if !ok {
		return fmt.Errorf("unknown command")
	}
	return f(m, words[1:])
}

func commands() map[string]func(*machine, []string) error {
	return map[string]func(*machine, []string) error{
		"echo":   (*machine).echo,   // N: send the next N bytes back
		"sink":   (*machine).sink,   // N BLOCK MS: read N bytes, resting MS after each BLOCK; answer their SHA-256
		"source": (*machine).source, // N SEED: send N bytes of the stream SEED
		"hash":   (*machine).hash,   // FILE OFFSET N: answer the SHA-256 of N bytes of FILE
		"write":  (*machine).write,  // FILE OFFSET HEX: write and sync; answer "ok"
		"touch":  (*machine).touch,  // N: use N bytes of memory; answer "ok"
		"frames": (*machine).frames, // N: send N frames back with their addresses swapped
		"print":  (*machine).print,  // WORD: to the console; answer "ok"
		"flood":  (*machine).flood,  // N: N bytes to the console; answer "ok"
		"panic":  (*machine).panic,  // make the kernel panic
		"reboot": (*machine).reboot,
		"off":    func(m *machine, _ []string) error { m.off(); return nil },
		"fork":   (*machine).fork, // N: leave N busy processes; answer "ok"
	}
}

// number parses the i-th argument.
func number(args []string, i int) int {
	n, err := strconv.Atoi(args[i])
	if err != nil {
		panic(err)
	}
	return n
}

func (m *machine) answer(s string) error {
	_, err := io.WriteString(m.home, s+"\n")
	return err
}

func cpus() int { return runtime.NumCPU() }
