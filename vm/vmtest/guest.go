package vmtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"ore/vm"
)

// facts is what testinit says first.
type facts struct {
	Release string
	CPUs    int
	Memory  int64
	Uptime  float64
	Disks   []disk
	Links   []link
	Extra   string
	Cmdline string
}

type disk struct {
	Path     string
	Size     int64
	ReadOnly bool
}

type link struct {
	Name string
	MAC  string
	MTU  int
}

// guest is the host's side of a conversation with testinit.
type guest struct {
	t *testing.T
	vm.Machine
	in    *bufio.Reader
	facts facts
}

// talk waits until m's testinit has said what it is.
func talk(t *testing.T, m vm.Machine) *guest {
	t.Helper()
	g := &guest{t: t, Machine: m, in: bufio.NewReader(m.Home())}
	l := g.line()
	j, ok := strings.CutPrefix(l, "ready ")
	if !ok {
		t.Fatalf("the guest's first line is %q", l)
	}
	if err := json.Unmarshal([]byte(j), &g.facts); err != nil {
		t.Fatal(err)
	}
	return g
}

// line reads one line, or fails the test with how the machine ended.
func (g *guest) line() string {
	g.t.Helper()
	l, err := g.in.ReadString('\n')
	if err != nil {
		g.t.Fatalf("home: %v after %q; machine: %v", err, l, g.Wait())
	}
	return strings.TrimSuffix(l, "\n")
}

// say sends a command.
func (g *guest) say(format string, args ...any) {
	g.t.Helper()
	if _, err := fmt.Fprintf(g.Home(), format+"\n", args...); err != nil {
		g.t.Fatalf("home: %v", err)
	}
}

// ask sends a command and wants an answer.
func (g *guest) ask(want, format string, args ...any) {
	g.t.Helper()
	g.say(format, args...)
	if got := g.line(); got != want {
		g.t.Fatalf("%s: got %q, want %q", fmt.Sprintf(format, args...), got, want)
	}
}

// send writes n bytes of r from a goroutine that is waited for by its channel.
func (g *guest) send(r io.Reader, n int64) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(g.Home(), r, n)
		done <- err
	}()
	return done
}
