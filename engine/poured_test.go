package engine

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ore"
	"ore/cluster"
	"ore/guest"
	"ore/image"
	"ore/node"
	"ore/node/installing"
)

// poursScript is an installer that reads its last device, of which it writes the
// first bytes, says so, and then sums it up.
const poursScript = `r=$(tr -d '"'); l=$(tail -n 1 $(find %[1]s -path "*$r/fake/job/layers"))
dd if=$l of=%[1]s/$r.first bs=64k count=1 status=none
echo '{"stage":"base","event":"advance","done":1,"total":2}'
sha256sum <$l >%[1]s/$r.sum; echo '{"stage":"restart","event":"start"}'`

// pours has the machines of w, two on two hosts, pour a layer of the given content,
// and returns its digest. What they boot is small.
func (g *ground) pours(e *Engine, layer string) (*work, ore.Digest) {
	t := g.t
	t.Helper()
	d, boots := g.blob(layer), g.blob("what the installer boots from")
	o := &installing.Order{
		Image: image.Manifest{Layers: []image.Layer{{Digest: boots}}}, Program: boots, Blobs: []ore.Digest{d},
		Command: []string{"/bin/sh", "-c", fmt.Sprintf(poursScript, g.dir)}, Machines: map[string]installing.Machine{},
	}
	w := &work{ground: g, engine: e}
	m := ore.Machines{Count: 2, Resources: ore.Resources{CPUs: 1, Memory: 32 << 20, Disk: 1 << 20}}
	img := image.Manifest{Layers: []image.Layer{{Digest: d, Size: int64(len(layer))}}}
	var err error
	w.hosts, err = e.Reserve(t.Context(), cluster.Reservation{
		Job: "pours", Machines: m, Image: func(context.Context) (image.Manifest, error) { return img, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := cluster.Distribution{Job: "pours", Network: ore.Isolated, Blobs: o.Needs(), Poured: o.Poured()}
	if w.stages, err = e.Distribute(t.Context(), want, e.config.Watch); err != nil {
		t.Fatal(err)
	}
	w.start = node.Start{Job: "pours", Network: ore.Isolated, Image: img, Resources: m.Resources, Size: 2, Install: o}
	for i := range 2 {
		name := cluster.MachineName(i)
		w.start.Hosts = append(w.start.Hosts, name)
		o.Machines[name] = installing.Machine{Recipe: []byte(`"` + name + `"`), Root: guest.Root{FileSystem: guest.FileSystem{UUID: "u", FS: "ext4", Part: 1}}}
	}
	return w, d
}

// Machines that install themselves begin while most of what they pour is on its way:
// each has written its first bytes when no host has the last ones.
func TestMachinesPourWhatComes(t *testing.T) {
	needsNamespaces(t)
	layer := layerOf(8 << 20)
	g := newGround(t, 2)
	e, link := slowly(g.engine(), "")
	w, d := g.pours(e, layer)
	defer w.release()
	if e.rest == nil {
		t.Fatal("the machines wait until all has come")
	}
	link.set(1e5) // the rest takes longer than any start, until all have begun
	var mu sync.Mutex
	begun := map[string]bool{}
	watch := func(v ore.Event) {
		if v.Stage != "base" {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		begun[v.Machine] = true
		if _, err := os.Stat(filepath.Join(g.dir, v.Machine+".first")); err != nil {
			t.Error(err)
		}
		for _, h := range e.hosts {
			if w.has(h, d) {
				t.Errorf("host %s had all when %s had written its first bytes", h.name(), v.Machine)
			}
		}
		if len(begun) == 2 {
			link.hurry()
		}
	}
	var both sync.WaitGroup
	for _, h := range w.hosts {
		s := w.start
		s.Machines = h.Machines
		both.Go(func() {
			if _, err := h.Start(t.Context(), s, watch); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(layer)))
	for _, m := range w.start.Hosts {
		got, err := os.ReadFile(filepath.Join(g.dir, m+".sum"))
		if err != nil || !begun[m] || !strings.HasPrefix(string(got), sum) {
			t.Errorf("%s poured %q, %v, want %s", m, got, err, sum)
		}
	}
	<-e.rest.done
	if !w.has(e.hosts[0], d) || !w.has(e.hosts[1], d) {
		t.Error("the hosts did not keep the layer")
	}
}

// Where it was ruled out, they wait for all.
func TestMachinesWaitForWhatTheyPour(t *testing.T) {
	g := newGround(t, 2)
	e := g.engine()
	e.config.Whole = true
	w, d := g.pours(e, layerOf(4<<20))
	defer w.release()
	if !w.has(e.hosts[0], d) || !w.has(e.hosts[1], d) {
		t.Error("they would begin before the layer is there")
	}
}

// If what machines pour comes from nobody any more they hear so, and go on as they can.
func TestPouredForNothing(t *testing.T) {
	needsNamespaces(t)
	g := newGround(t, 2)
	e, link := slowly(g.engine(), "")
	w, d := g.pours(e, layerOf(8<<20))
	defer w.release()
	if e.rest == nil {
		t.Fatal("the machines wait until all has come")
	}
	w.start.Install.Command = []string{"/bin/sh", "-c", fmt.Sprintf(`r=$(tr -d '"'); l=$(tail -n 1 $(find %s -path "*$r/fake/job/layers"))
echo '{"stage":"base","event":"start"}'
if cat $l >/dev/null 2>&1; then echo '{"stage":"restart","event":"start"}'; else echo '{"stage":"packages","event":"start"}'; fi`, g.dir)}
	link.set(1e5)
	s := w.start
	s.Machines = w.hosts[0].Machines
	var once sync.Once
	started, err := w.hosts[0].Start(t.Context(), s, func(v ore.Event) {
		if v.Stage == "base" {
			once.Do(func() {
				if err := e.source.close(); err != nil {
					t.Error(err)
				}
			})
		}
	})
	if err != nil || len(started) != 1 || started[0].Lost != "" {
		t.Fatalf("%+v, %v", started, err)
	}
	var stages []string
	for _, stage := range started[0].Stages {
		stages = append(stages, stage.Name)
	}
	if w.has(e.hosts[0], d) || !strings.Contains(strings.Join(stages, " "), "base packages") {
		t.Errorf("it went through %v", stages)
	}
	if got, err := w.shell(w.hosts[0], s.Machines[0].Name, "echo well"); err != nil || got != "well\n" {
		t.Errorf("it says %q, %v", got, err)
	}
}
