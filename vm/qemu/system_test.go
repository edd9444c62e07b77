//go:build system

package qemu

import (
	"bufio"
	"context"
	"testing"

	"ore/vm"
	"ore/vm/vmtest"
)

// TestConformance starts a dozen real machines.
func TestConformance(t *testing.T) {
	h, base := prepare(t)
	vmtest.Conformance(t, h, base)
}

// TestPause stops a machine, which then goes on as if nothing had been.
func TestPause(t *testing.T) {
	h, c := prepare(t)
	c.Name, c.Dir = "m0", t.TempDir()
	m, err := h.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Home().Close()
	defer m.Kill()
	in := bufio.NewReader(m.Home())
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err, m.Wait())
	}
	p := m.(vm.Pauser)
	if err := p.Pause(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Home().Write([]byte("echo 5\nhello")); err != nil {
		t.Fatal(err)
	}
	if err := p.Resume(context.Background()); err != nil {
		t.Fatal(err)
	}
	b, err := in.Peek(5)
	if err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
}
