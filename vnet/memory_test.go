package vnet

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ore/vnet/ethernet"
)

// memoryRole has this test's program run as a process with a network of 16
// machines, a quarter of which are frozen with full queues.
const memoryRole = "memory"

// mostMemory is what such a process may have resident, in kB. It shares the
// 150 MB of the whole program with everything else that a job's supervisor does.
const mostMemory = 60 << 10

func TestMemoryOfSixteenMachines(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+memoryRole)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	at := bytes.Index(out, []byte("resident "))
	var kb int
	if at < 0 {
		t.Fatalf("the process said %q", out)
	}
	if _, err := fmt.Sscanf(string(out[at:]), "resident %d", &kb); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%s", out)
	if kb > mostMemory && !raceEnabled {
		t.Errorf("%d kB resident, more than %d", kb, mostMemory)
	}
}

// useMemory does what memoryRole is for, and says how much it took.
func useMemory() error {
	const machines, frozen, frames = 16, 4, 2000
	n, err := New(Config{})
	if err != nil {
		return err
	}
	defer n.Close()
	var files []*os.File
	var ids []ethernet.Identity
	for i := range machines {
		f, a, err := n.Attach(fmt.Sprintf("m%d", i))
		if err != nil {
			return err
		}
		defer f.Close()
		files, ids = append(files, f), append(ids, identity(a.IP))
	}
	if err := showResident("idle"); err != nil {
		return err
	}
	var done [machines]chan struct{}
	for i := frozen; i < machines; i++ {
		done[i] = make(chan struct{})
		go func() {
			defer close(done[i])
			b := make([]byte, 1<<16)
			for {
				if size, err := files[i].Read(b); err != nil || size == lastFrame {
					return
				}
			}
		}()
	}
	for i := frozen; i < machines; i++ {
		to := frozen + (i-frozen+1)%(machines-frozen)
		for k := range frames {
			files[i].Write(ipFrame(ids[i], ids[k%frozen], DefaultMTU))
			files[i].Write(ipFrame(ids[i], ids[to], 64+k%DefaultMTU/2))
		}
		// The last one may find the queue full, so it is sent until it arrived.
		tick := time.NewTicker(time.Millisecond)
		for arrived := false; !arrived; {
			files[i].Write(ipFrame(ids[i], ids[to], lastFrame-14))
			select {
			case <-done[to]:
				arrived = true
			case <-tick.C:
			}
		}
		tick.Stop()
	}
	return showResident("resident")
}

// showResident prints the process's resident memory.
func showResident(label string) error {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for _, l := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			fmt.Println(label, strings.TrimSpace(v))
		}
	}
	return nil
}

// lastFrame is the size of the frame after which a machine reads no more.
const lastFrame = 14 + 61

// ipFrame returns a frame with an IPv4 packet of the given size.
func ipFrame(from, to ethernet.Identity, size int) []byte {
	b := make([]byte, 14+size)
	copy(b, to.MAC[:])
	copy(b[6:], from.MAC[:])
	copy(b[12:], []byte{8, 0, 0x45, 0, byte(size >> 8), byte(size)})
	copy(b[26:], from.IP[:])
	copy(b[30:], to.IP[:])
	return b
}
