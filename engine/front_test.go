package engine

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"ore/cluster"
	"ore/guest"
	"ore/node"
)

// Machines of several hosts are used at one place as those of one host are, and
// there become more, and begin again elsewhere.
func TestFront(t *testing.T) {
	g := newGround(t, 3)
	w := g.reserve("front", 2, "a layer")
	w.all()
	defer w.release()
	server := httptest.NewServer(w.engine.Front())
	defer server.Close()
	c := node.NewClientOver(server.Client(), server.URL)
	defer c.Close()
	says := func(machine, script string) string {
		t.Helper()
		var out bytes.Buffer
		exit, err := c.Exec(t.Context(), machine, guest.Command{Args: []string{"/bin/sh", "-c", script}, Stdout: &out, Stderr: &out})
		if err != nil || exit.Code != 0 {
			t.Errorf("%s: %+v, %v: %s", machine, exit, err, out.String())
		}
		return out.String()
	}
	for rank, name := range []string{"m0", "m1"} {
		if got, want := says(name, "echo $ORE_RANK"), string('0'+byte(rank))+"\n"; got != want {
			t.Errorf("%s says %q", name, got)
		}
	}
	if _, err := c.Exec(t.Context(), "m7", guest.Command{Args: []string{"true"}}); err == nil || !strings.Contains(err.Error(), `machine "m7"`) {
		t.Errorf("a machine that there is not: %v", err)
	}
	if _, err := c.Console(t.Context(), "m7"); !errors.Is(err, node.ErrUnknown) {
		t.Errorf("its console: %v", err)
	}
	grow := func(n int) []node.Started {
		t.Helper()
		s := w.start
		s.Size, s.Hosts, s.Grow, s.Secret = n, nil, true, nil
		for i := range n {
			s.Hosts = append(s.Hosts, cluster.MachineName(i))
			s.Machines = append(s.Machines, node.Machine{Name: cluster.MachineName(i), Rank: i})
		}
		started, err := c.Start(t.Context(), s, nil)
		if err != nil {
			t.Fatal(err)
		}
		return started
	}
	if came := grow(4); len(came) != 2 || came[0].Name != "m2" || came[1].Name != "m3" {
		t.Errorf("what came is %+v", came)
	}
	if got := says("m3", "echo $ORE_RANK of $ORE_SIZE"); got != "3 of 4\n" {
		t.Errorf("m3 says %q", got)
	}
	there, err := c.Machines(t.Context())
	if err != nil || len(there) != 4 || there[3].Name != "m3" {
		t.Errorf("there are %+v, %v", there, err)
	}
	w.killHostOf("m0")
	if there, err = c.Machines(t.Context()); err != nil || len(there) != 4 || there[0].Lost == "" {
		t.Errorf("without the host of m0 there are %+v, %v", there, err)
	}
	came := grow(4)
	if len(came) == 0 || came[0].Name != "m0" {
		t.Errorf("again: %+v", came)
	}
	says("m0", "true")
	if there, err = c.Machines(t.Context()); err != nil || len(there) != 4 || there[0].Lost != "" {
		t.Errorf("at the end there are %+v, %v", there, err)
	}
}

// killHostOf kills the agent that has a machine.
func (w *work) killHostOf(machine string) {
	w.t.Helper()
	at := w.engine.at(machine, nil)
	for i, target := range w.targets {
		if target.Addr == at.agent.Addr() {
			if err := w.agents[i].Process.Kill(); err != nil {
				w.t.Fatal(err)
			}
			_ = w.agents[i].Wait() // it was killed
			return
		}
	}
	w.t.Fatalf("no agent has %s", machine)
}
