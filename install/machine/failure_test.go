package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/image"
	"ore/install/configure"
	"ore/install/disk"
	"ore/install/recipe"
)

// What cannot be is refused before anything is written.
func TestRefused(t *testing.T) {
	device, file := loop(t, 300*mib)
	r := sample(t, device)
	lasting := true
	refused := func(want string) {
		t.Helper()
		before := sum(t, file)
		_, k, err := install(t, r)
		if err == nil || !strings.Contains(err.Error(), want) || k.last() != err.Error() || !strings.HasSuffix(k.stages(), "!hardware") {
			t.Errorf("%v\nwant %s\ntold %s", err, want, k.stages())
		}
		if last := k.all[len(k.all)-1]; last.Lasting != lasting {
			t.Errorf("%v: is it so at every try: %v", err, last.Lasting)
		}
		if sum(t, file) != before {
			t.Error("something was written")
		}
	}
	r.Image.Bytes = 1 << 40
	refused("which take 1048600 MiB at least")
	r.Image.Bytes = 1
	r.Holds = map[string]int64{"/": 1, "/var/lib/data": 64 * mib}
	refused("/var/lib/data has room for 63 MiB, and its files take 64 MiB at least")
	r.Holds = nil
	small := func(at string) { // on / is less than on what packages have nothing on
		r = sample(t, device)
		r.Storage.Disks[0].Partitions[0].Size, r.Storage.Disks[0].Partitions[1].Size = ore.Share{Bytes: 24 * mib}, ore.Share{Rest: true}
		r.Storage.Disks[0].Partitions[1].Mount = at
	}
	small("/scratch")
	refused("have room for 23 MiB of packages' files, which take 29 MiB at least")
	small("/usr")
	r.Partial, r.Strategy, r.Archive = true, recipe.Base, []string{"mirror:http://mirror.example.org/debian"}
	refused("/ has room for 23 MiB, and its files take 25 MiB at least, where packages are installed before they are moved")
	r = sample(t, device)
	lasting = false
	r.Storage.Disks[0].Partitions[1].Size.Bytes = 1 << 30
	refused("1024 MiB do not fit")
	r = sample(t, device)
	sh(t, "mkfs.ext4", "-q", "-F", "-L", "photos", device)
	refused(`it holds ext4 "photos": set wipe: true`)
}

// A file system that is full is named, with what to do about it on this machine, whoever
// says that it is: packages' files may be more than was known.
func TestFullFileSystem(t *testing.T) {
	for _, c := range []struct {
		summary string
		after   func(error) error // what comes of the write's error
		gone    bool              // what was written is removed
	}{
		{"a write of our own", func(err error) error { return err }, false},
		{"one whose file is gone", func(err error) error { return err }, true},
		{"what is advised where a host's disk is full", image.Full, false},
		{"the words of a program", func(err error) error {
			return errors.New(image.Full(fmt.Errorf("tar: x: Cannot write: No space left on device: %w", err)).Error())
		}, false},
	} {
		device, _ := loop(t, 300*mib)
		r := sample(t, device)
		_, k, err := install(t, r, func(o *Options) {
			o.Configure = func(_ context.Context, to configure.Options) error {
				name := filepath.Join(to.Target, "var/lib/data/large")
				err := os.WriteFile(name, make([]byte, 80*mib), 0o600)
				if c.gone {
					os.Remove(name)
				}
				return c.after(err)
			}
		})
		want := ": /var/lib/data on " + device + "p2 is full: give it more of the disk, or use a larger one (--disk)"
		if err == nil || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "prune") || !k.all[len(k.all)-1].Lasting {
			t.Errorf("%s: %v", c.summary, err)
		}
	}
}

// A layer that is not what its digest says fails, and is never called installed.
func TestFailureIsTold(t *testing.T) {
	device, _ := loop(t, 300*mib)
	r := sample(t, device)
	for d, b := range r.Blobs {
		content, err := os.ReadFile(b.From[0])
		if err != nil {
			t.Fatal(err)
		}
		content[len(content)/2] ^= 1
		if err := os.WriteFile(b.From[0], content, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Log(d)
	}
	_, k, err := install(t, r)
	if err == nil || !strings.HasSuffix(k.stages(), "+base !base") || k.last() != err.Error() {
		t.Errorf("%v %s", err, k.stages())
	}
	if s := look(t, r, device).State(); s == disk.Installed {
		t.Error("it is called installed")
	}
	fresh := sample(t, device)
	if _, _, err := install(t, fresh); err != nil { // another recipe's blob, the same machine
		t.Error(err)
	}
	whole(t, fresh, device)
}

// Whatever stage is cut off, nothing is left mounted, and the next run starts over.
func TestCancelled(t *testing.T) {
	device, _ := loop(t, 300*mib)
	r := sample(t, device)
	for _, stage := range []string{recipe.Hardware, recipe.Partition, recipe.Format, recipe.Root, recipe.Configure} {
		ctx, cancel := context.WithCancel(t.Context())
		target := t.TempDir()
		o := options(target)
		o.Report = func(r recipe.Report) {
			if r.Stage == stage {
				cancel()
			}
		}
		_, err := Install(ctx, r, o)
		cancel()
		unused(t, target)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", stage, err)
		}
		if s := look(t, r, device).State(); s == disk.Installed {
			t.Errorf("%s: cut off, it is %v", stage, s)
		}
	}
	if _, _, err := install(t, r); err != nil {
		t.Fatal(err)
	}
	whole(t, r, device)
}

// A daemon that a script left in the tree does not keep it from being unmounted.
func TestLeftProcess(t *testing.T) {
	device, _ := loop(t, 300*mib)
	r := sample(t, device)
	var left *exec.Cmd
	_, _, err := install(t, r, func(o *Options) {
		fill := o.Pour
		o.Pour = func(ctx context.Context, tree Tree) error {
			err := fill(ctx, tree)
			left = exec.Command("sleep", "1000")
			left.Dir = filepath.Join(tree.Target, "var/lib/data")
			return errors.Join(err, left.Start())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := left.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended with %v", err)
	}
	whole(t, r, device)
}
