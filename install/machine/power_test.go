package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ore"
	"ore/install/disk"
	"ore/install/recipe"
)

// moments is how often the power is lost in each of the stages that write.
const moments = 5

// copyDisk copies what is written of a sparse file, from its begin to its end. It
// may be written to meanwhile: what the copy has is then what a disk could have
// that writes in any order between two flushes. The mark, which comes first, is
// never newer in the copy than what it vouches for.
func copyDisk(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for at := int64(0); ; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return out.Truncate(st.Size())
		} else if err != nil {
			return err
		}
		if at, err = unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(in, data, at-data)); err != nil {
			return err
		}
	}
}

// camera copies a disk again and again, and keeps a random choice of the copies.
type camera struct {
	t    *testing.T
	file string // what it copies
	dir  string

	mu    sync.Mutex // guards all below
	moved *sync.Cond // on copies
	at    string     // the stage that the installer is in
	over  bool
	taken map[string]int // copies by stage
}

// place names a kept copy.
func (c *camera) place(stage string, n int) string {
	return filepath.Join(c.dir, fmt.Sprintf("%s-%d", stage, n))
}

// run takes copies until it is over. Of those of a stage each is as likely kept as
// any other (reservoir sampling).
func (c *camera) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.over {
		stage := c.at
		slot := c.taken[stage]
		if slot >= moments {
			slot = min(rand.IntN(slot+1), moments) // the last is taken in vain
		}
		c.mu.Unlock()
		err := copyDisk(c.place(stage, slot), c.file)
		c.mu.Lock()
		if err != nil {
			c.t.Error(err)
			c.over = true
		}
		c.taken[stage]++
		c.moved.Broadcast()
	}
}

// all is how many copies were taken.
func (c *camera) all() int {
	sum := 0
	for _, n := range c.taken {
		sum += n
	}
	return sum
}

// pass lets the installer go on once some copies have been taken.
func (c *camera) pass(r recipe.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = r.Stage
	c.over = c.over || r.Stage == recipe.Restart
	for n := c.all(); c.all() < n+3 && !c.over; {
		c.moved.Wait()
	}
}

// overBase has a recipe install packages over its image, and run scripts.
func overBase(_ testing.TB, r recipe.Recipe, _ string) recipe.Recipe {
	r.Partial, r.Strategy, r.Archive = true, recipe.Base, []string{"mirror:http://mirror.example.org/debian"}
	r.Environment.Manual = []string{"sample"}
	return r
}

// written is what packages and scripts leave in the tree: a file of each stage, of some MiB.
func written(stage string) []byte { return bytes.Repeat([]byte(stage+"\n"), 3*mib/len(stage)) }

// installs is a filler that works in all stages which are its own.
func installs(_ context.Context, t Tree) error {
	for _, stage := range []string{recipe.Install, "steps", recipe.Capture} { // as the events' stages are called
		t.Watch.Tell(ore.Event{Stage: stage})
		if err := os.WriteFile(filepath.Join(t.Target, stage), written(stage), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Power is lost at random moments of one long run. The disk as it then was is
// taken for a machine only if it is one, and is not foreign: another run, that
// finds it so, makes the machine.
func TestPowerLoss(t *testing.T) {
	stages := []string{recipe.Partition, recipe.Format, recipe.Root, recipe.Configure}
	for _, c := range []struct {
		name   string
		as     func(testing.TB, recipe.Recipe, string) recipe.Recipe
		stages []string
		files  []string // what Onto leaves
	}{
		{"tree", func(_ testing.TB, r recipe.Recipe, _ string) recipe.Recipe { return r }, stages, nil},
		{"disk", wholeDisk, stages, nil},
		{"packages", overBase, append(stages[:3:3], recipe.Install, recipe.Scripts, recipe.Capture, recipe.Configure), []string{recipe.Install, "steps", recipe.Capture}},
	} {
		t.Run(c.name, func(t *testing.T) {
			device, file := loop(t, 300*mib)
			r := c.as(t, sample(t, device), device)
			losePower(t, r, device, file, c.stages, func() {
				t.Helper()
				whole(t, r, device)
				has(t, r, device, c.files)
			})
		})
	}
}

// has looks whether the file system on / has what packages and scripts leave.
func has(t *testing.T, r recipe.Recipe, device string, files []string) {
	t.Helper()
	if len(files) == 0 {
		return
	}
	at := t.TempDir()
	for _, m := range look(t, r, device).FileSystems() {
		if m.Mount == "/" {
			sh(t, "mount", "-o", "ro", m.Device, at)
			defer sh(t, "umount", at)
		}
	}
	for _, name := range files {
		if b, err := os.ReadFile(filepath.Join(at, name)); err != nil || !bytes.Equal(b, written(name)) {
			t.Errorf("%s has %d bytes of %d: %v", name, len(b), len(written(name)), err)
		}
	}
}

// losePower installs by a recipe, and then again from the disk as it was at moments of
// each of the stages, after which whole is to find the machine.
func losePower(t *testing.T, r recipe.Recipe, device, file string, stages []string, whole func()) {
	c := &camera{t: t, file: file, dir: memory(t), taken: map[string]int{}}
	c.moved = sync.NewCond(&c.mu)
	var running sync.WaitGroup
	_, _, err := install(t, r, func(o *Options) {
		o.Onto = installs
		tell := o.Report
		o.Report = func(r recipe.Report) {
			if r.Stage == recipe.Partition && r.Event == recipe.Start {
				running.Go(c.run) // before, there is nothing to see
			}
			if tell(r); slices.Index(order(), r.Stage) >= slices.Index(order(), recipe.Partition) {
				c.pass(r)
			}
		}
	})
	running.Wait()
	if err != nil {
		t.Fatal(err)
	}
	whole()
	t.Logf("copies: %v", c.taken)
	for _, stage := range stages {
		if c.taken[stage] < moments {
			t.Fatalf("too few were taken in %s", stage)
		}
		for i := range moments {
			exec.Command("partx", "-d", device).Run() // it fails where there is none
			// The loop device stays, since whoever else looks for a free one might take
			// its number. What is kept of its content is dropped, written or not.
			sh(t, "blockdev", "--flushbufs", device)
			if err := copyDisk(file, c.place(stage, i)); err != nil {
				t.Fatal(err)
			}
			sh(t, "blockdev", "--flushbufs", device)
			exec.Command("partx", "-u", device).Run() // it fails where there is no table yet
			t.Logf("lost in %s: it is %v", stage, look(t, r, device).State())
			if _, _, err := install(t, r, func(o *Options) { o.Onto = installs }); err != nil {
				t.Errorf("lost in %s, then: %v", stage, err)
			}
			whole() // also if nothing was done, since it was called installed
		}
	}
}

// An installer that is killed leaves nothing mounted, and the next one starts over.
func TestKilled(t *testing.T) {
	device, _ := loop(t, 300*mib)
	r := sample(t, device)
	for _, stage := range []string{recipe.Partition, recipe.Format, recipe.Root, recipe.Configure} {
		target := t.TempDir()
		reports, out := io.Pipe()
		var complaints bytes.Buffer
		ctx, kill := context.WithCancel(t.Context())
		var killed sync.WaitGroup
		killed.Go(func() {
			in := json.NewDecoder(reports)
			for {
				var k recipe.Report
				if in.Decode(&k) != nil {
					return
				}
				if k.Stage == stage {
					kill()
				}
			}
		})
		apart, err := Apart(ctx, []string{installerWord, target}, Streams{In: bytes.NewReader(r.Encode()), Out: out, Err: &complaints})
		kill()
		out.Close()
		killed.Wait()
		if !apart {
			t.Skip("this kernel refuses namespaces")
		}
		if !errors.Is(err, context.Canceled) || complaints.Len() > 0 {
			t.Errorf("%s: not killed: %v %s", stage, err, &complaints)
		}
		unused(t, target)
		l := look(t, r, device)
		if l.State() == disk.Installed || l.Disks[0].Busy != "" {
			t.Errorf("%s: killed, it is %v, busy: %s", stage, l.State(), l.Disks[0].Busy)
		}
	}
	if _, _, err := install(t, r); err != nil {
		t.Fatal(err)
	}
	whole(t, r, device)
}
