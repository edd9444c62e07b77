package machine

import (
	"bytes"
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

	"ore/install/disk"
	"ore/install/recipe"
	"ore/namespace"
)

// moments is how often the power is lost.
const moments = 20

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
	n     int      // copies taken
	kept  []string // in which stage each of those was taken that are kept
}

// run takes copies until it is over.
func (c *camera) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.over {
		slot, stage := c.n, c.at
		if c.n >= moments { // reservoir sampling
			slot = min(rand.IntN(c.n+1), moments) // the last is taken in vain
		}
		c.mu.Unlock()
		err := copyDisk(filepath.Join(c.dir, fmt.Sprint(slot)), c.file)
		c.mu.Lock()
		if err != nil {
			c.t.Error(err)
			c.over = true
		}
		if slot == len(c.kept) && slot < moments {
			c.kept = append(c.kept, "")
		}
		if slot < moments {
			c.kept[slot] = stage
		}
		c.n++
		c.moved.Broadcast()
	}
}

// pass lets the installer go on once a copy has been taken.
func (c *camera) pass(r recipe.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = r.Stage
	c.over = c.over || r.Stage == recipe.Restart
	for n := c.n; c.n == n && !c.over; {
		c.moved.Wait()
	}
}

// Power is lost at random moments of one long run. The disk as it then was is
// taken for a machine only if it is one, and is not foreign: another run, that
// finds it so, makes the machine.
func TestPowerLoss(t *testing.T) {
	device, file := loop(t, 300*mib)
	r := sample(t, device)
	c := &camera{t: t, file: file, dir: t.TempDir()}
	c.moved = sync.NewCond(&c.mu)
	var running sync.WaitGroup
	_, _, err := install(t, r, func(o *Options) {
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
	whole(t, r, device)
	t.Logf("%d copies, kept are those in %q", c.n, c.kept)
	if kinds := slices.Compact(slices.Sorted(slices.Values(c.kept))); len(c.kept) < moments || len(kinds) < 3 {
		t.Errorf("%d moments, all in %q", len(c.kept), kinds)
	}
	forget := func() { sh(t, "partx", "-d", device); sh(t, "losetup", "-d", device) }
	for i, stage := range c.kept {
		forget()
		sh(t, "losetup", device, filepath.Join(c.dir, fmt.Sprint(i)))
		exec.Command("partx", "-u", device).Run() // it fails where there is no table yet
		state := look(t, r, device).State()
		t.Logf("lost in %s: it is %v", stage, state)
		if _, _, err := install(t, r); err != nil {
			t.Errorf("lost in %s, then: %v", stage, err)
		}
		whole(t, r, device) // also if nothing was done, since it was called installed
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
		p, err := namespace.Start(t.Context(), namespace.Options{
			Kinds: namespace.PID | namespace.Mount, Args: []string{installerWord, target},
			Stdin: bytes.NewReader(r.Encode()), Stdout: out, Stderr: &complaints,
		})
		if err != nil {
			t.Skipf("namespaces: %v", err)
		}
		var killed sync.WaitGroup
		killed.Go(func() {
			in := json.NewDecoder(reports)
			for {
				var k recipe.Report
				if in.Decode(&k) != nil {
					return
				}
				if k.Stage == stage {
					p.Kill()
				}
			}
		})
		err = p.Wait()
		out.Close()
		killed.Wait()
		if err == nil || complaints.Len() > 0 {
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
