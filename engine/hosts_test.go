package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ore"
	"ore/chain"
	"ore/chain/conduct"
	"ore/cluster"
	"ore/guest"
	"ore/image"
	"ore/node"
	"ore/node/agent"
)

func TestMachinesOnHosts(t *testing.T) {
	g := newGround(t, 3)
	w := g.reserve("first", 6, "a layer")
	w.all()
	if on := w.on(); on["a0"] != 2 || on["a1"] != 2 || on["a2"] != 2 {
		t.Errorf("six machines on three hosts: %v", on)
	}
	for _, h := range w.hosts {
		for _, m := range h.Machines {
			got, err := w.shell(h, m.Name, "echo $ORE_RANK of $ORE_SIZE")
			if want := fmt.Sprintf("%d of 6\n", m.Rank); err != nil || got != want {
				t.Errorf("%s says %q, %v", m.Name, got, err)
			}
		}
	}
	if read := g.sources(); len(read) != 1 {
		t.Errorf("the layer was read %d times here", len(read))
	}
	if len(w.stages) == 0 {
		t.Error("nothing is told of what was sent")
	}
	w.release()
	if on := w.on(); len(on) != 0 {
		t.Errorf("after the release there is %v", on)
	}
	w = g.reserve("second", 3, "a layer")
	if read := g.sources(); len(read) != 0 || len(w.stages) != 0 {
		t.Errorf("what is there was sent again: %v, %+v", read, w.stages)
	}
	w.release()
}

// What a host has comes from there to the others, and not from this one.
func TestHostsGiveEachOther(t *testing.T) {
	g := newGround(t, 2)
	all := g.targets
	g.targets = all[:1]
	g.reserve("first", 1, "a layer").release()
	g.sources()
	g.targets = all
	w := g.reserve("second", 2, "a layer")
	defer w.release()
	// Machines prefer the host that has the layer only while a core is free there.
	if read := g.sources(); len(read) != 0 {
		t.Errorf("sent from here: %v", read)
	}
	w.all()
}

// Where hosts cannot connect to the one that the job comes from, one of them is
// given what all lack, and they have it from there.
func TestHostsThatCannotCall(t *testing.T) {
	g := newGround(t, 3)
	e := g.engine()
	e.asked = true // and cannot be reached
	w := g.reserveOn(e, ask{"job", 3, strings.Repeat("a layer", 100_000)})
	defer w.release()
	w.all()
	var out, in int
	for _, s := range w.stages {
		var came, went float64
		if _, err := fmt.Sscanf(s.Note, "%f MB in, %f MB out", &came, &went); err != nil {
			t.Errorf("stage %+v: %v", s, err)
		}
		if s.Machine == sourceName && went > 0 {
			out++
		} else if came > 0 {
			in++
		}
	}
	if in != 6 || out != 2 { // the kit, and the image
		t.Errorf("not the kit and the image to three hosts, once from here: %+v", w.stages)
	}
}

// A host that is killed costs its own machines. They start again elsewhere, where
// nothing is lost.
func TestLostHost(t *testing.T) {
	g := newGround(t, 3)
	w := g.reserve("job", 6, "a layer")
	defer w.release()
	w.all()
	victim := w.hosts[1]
	lost, kept := victim.Machines[0], w.hosts[0].Machines[0]
	if _, err := w.shell(w.hosts[0], kept.Name, "echo here >mark"); err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	over := make(chan error, 1)
	go func() {
		_, err := victim.Exec(t.Context(), lost.Name, guest.Command{Args: []string{"/bin/sh", "-c", "echo; sleep 1000"}, Stdout: &signal{c: begun}})
		over <- err
	}()
	<-begun
	i := slices.IndexFunc(g.targets, func(a agent.Target) bool { return a.Addr == victim.Node.(*host).agent.Addr() })
	if err := g.agents[i].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var le *node.LostError
	if err := <-over; !errors.As(err, &le) || !errors.Is(err, agent.ErrLost) || le.Machine != lost.Name {
		t.Errorf("the machine's loss is told as %v", err)
	}
	if err := w.begin(victim, lost); err != nil {
		t.Fatalf("start again: %v", err)
	}
	if got, err := w.shell(victim, lost.Name, "echo again"); err != nil || got != "again\n" {
		t.Errorf("on another host it says %q, %v", got, err)
	}
	if got, err := w.shell(w.hosts[0], kept.Name, "cat mark"); err != nil || got != "here\n" {
		t.Errorf("a machine of another host: %q, %v", got, err)
	}
	if on := w.on(); len(on) != 2 || on["a0"]+on["a1"]+on["a2"] != 5 {
		t.Errorf("the machines are on %v", on)
	}
}

// That others go around a host is told at once, by the name that people know it by, and
// stands in what is said of its transfers.
func TestRepairsAreTold(t *testing.T) {
	g := newGround(t, 2)
	w := g.reserve("job", 2, "a layer")
	defer w.release()
	d := g.blob("another layer")
	transfer := w.engine.newTransfer(w.engine.config.Watch)
	if err := transfer.look(t.Context(), w.engine.hosts, []ore.Digest{d}); err != nil {
		t.Fatal(err)
	}
	order := conduct.Transfer{Blob: chain.Blob{Size: 1000}}
	transfer.receivers(&order, d, transfer.lacking[d], nil)
	order.Repaired(conduct.Repair{After: 1500 * time.Millisecond, Host: order.Receivers[1].Name, What: "it is silent"})
	g.mu.Lock()
	defer g.mu.Unlock()
	if want := "host a1, 1.5 s into " + d.Short() + ": it is silent"; !slices.Contains(g.said, want) {
		t.Errorf("not told %q: %q", want, g.said)
	}
	if all := transfer.stages(); len(all) != 1 || all[0].Machine != "a1" || !strings.HasSuffix(all[0].Note, "; it is silent") {
		t.Errorf("its stage: %+v", all)
	}
}

// The end of a job waits for a host that is slow, and ends it there. One that refuses is
// given up before it counts as lost, which is told.
func TestEndWithoutAHost(t *testing.T) {
	g := newGround(t, 3)
	w := g.reserve("job", 3, "a layer")
	w.all()
	slow, dead := w.engine.hosts[1], w.engine.hosts[2]
	stopped := g.agents[1].Process
	if err := errors.Join(stopped.Signal(syscall.SIGSTOP), g.agents[2].Process.Kill()); err != nil {
		t.Fatal(err)
	}
	defer stopped.Signal(syscall.SIGCONT)
	begun, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		close(begun)
		w.release()
	}()
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), askTime+time.Second)
	defer cancel()
	if _, err := slow.agent.Renew(ctx); err == nil {
		t.Error("a host that is stopped answers")
	}
	if err := stopped.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	<-over
	for _, h := range w.engine.hosts[:2] {
		if f, err := h.agent.Host(t.Context()); err != nil || len(f.Jobs) != 0 || h.fault() != nil {
			t.Errorf("on host %s: %+v, %v; it is blamed for %v", h.name(), f.Jobs, err, h.fault())
		}
	}
	if dead.agent.Lost().Err() != nil {
		t.Error("the end waited for a dead host until it counted as lost")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	told := slices.DeleteFunc(g.said, func(s string) bool { return !strings.Contains(s, "ends by itself") })
	if len(told) != 1 || !strings.HasPrefix(told[0], "host a2: the host is lost: ") {
		t.Errorf("told is %q", told)
	}
}

// signal closes c at the first write.
type signal struct {
	c    chan struct{}
	once sync.Once
}

func (s *signal) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.c) })
	return len(p), nil
}

// A host on which machines do not start is left for others; where none of them
// can start one, the error says why.
func TestHostThatStartsNothing(t *testing.T) {
	g := newGround(t, 2)
	spoil := func(name string) {
		if err := os.WriteFile(filepath.Join(g.folder(name), "broken"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := g.reserve("job", 4, "a layer")
	spoil("a1")
	w.all()
	if on := w.on(); on["a0"] != 4 || on["a1"] != 0 {
		t.Errorf("the machines are on %v", on)
	}
	w.release()
	spoil("a0")
	w = g.reserve("next", 1, "a layer")
	defer w.release()
	if err := w.begin(w.hosts[0], w.hosts[0].Machines...); err == nil || !strings.Contains(err.Error(), "no other host") {
		t.Errorf("no host starts anything: %v", err)
	}
}

// A host that ends the job while its machines start is left for others; where all have,
// the error says that they did, and why, and not that somebody was cancelled.
func TestHostEndsTheJob(t *testing.T) {
	g := newGround(t, 2)
	w, _ := g.pours(g.engine(), layerOf(1<<20))
	defer w.release()
	w.start.Install.Command = []string{"/bin/sh", "-c", `echo '{"stage":"base","event":"start"}'; sleep 1000`}
	var once sync.Once
	ends := func(v ore.Event) {
		if v.Stage != "base" {
			return
		}
		once.Do(func() {
			for _, at := range g.targets {
				other, err := agent.Dial(t.Context(), at, g.keys)
				if err != nil {
					t.Error(err)
					return
				}
				defer other.Close()
				if j, err := other.Job(t.Context(), "pours"); err != nil || j.End(t.Context()) != nil {
					t.Errorf("end the job there: %v", err)
				}
			}
		})
	}
	s := w.start
	s.Machines = w.hosts[0].Machines
	_, err := w.hosts[0].Start(t.Context(), s, ends)
	if err == nil || strings.Contains(err.Error(), "canceled") || !strings.Contains(err.Error(), "heard nothing from here") || !errors.Is(err, agent.ErrGone) {
		t.Errorf("all hosts have ended the job: %v", err)
	}
	var le *node.LostError
	if _, err := w.shell(w.hosts[0], s.Machines[0].Name, "echo"); !errors.As(err, &le) {
		t.Errorf("its machine is told of as %v", err)
	}
}

// A machine's port is reached at the host that the job comes from.
func TestPublish(t *testing.T) {
	g := newGround(t, 1)
	w := g.reserve("job", 1, "a layer")
	w.all()
	p, err := w.hosts[0].Node.(*host).Publish(t.Context(), ore.Port{Listen: "127.0.0.1:0", Rank: 0, Port: 7})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Listen)
	if err != nil {
		t.Fatal(err)
	}
	c.Close() // the Fake's machines have no network behind it
	w.release()
	if c, err := net.Dial("tcp", p.Listen); err == nil {
		c.Close()
		t.Error("the port outlives the job")
	}
}

// Without a host that can be used nothing is reserved, and nothing is left.
func TestNoHosts(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an engine without hosts")
	}
	g := newGround(t, 1)
	e := g.engine()
	e.config.Version = "another"
	e.hosts[0].facts.Version = ""
	boom := errors.New("no image")
	_, err := g.engine().Reserve(t.Context(), cluster.Reservation{
		Job: "job", Machines: ore.Machines{Count: 1}, Image: func(context.Context) (image.Manifest, error) { return image.Manifest{}, boom },
	})
	if !errors.Is(err, boom) {
		t.Errorf("no image: %v", err)
	}
	if f, err := e.hosts[0].agent.Host(t.Context()); err != nil || len(f.Jobs) != 0 {
		t.Errorf("after a reservation that failed: %+v, %v", f.Jobs, err)
	}
}
