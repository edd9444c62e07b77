package machine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/install/disk"
	"ore/install/diskimage"
	"ore/install/pour"
	"ore/install/pour/blob"
	"ore/install/recipe"
)

// dies serves a file until so many of its bytes are sent, and then nobody any more.
func dies(t *testing.T, name string, after int64) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var left atomic.Int64
	left.Store(after)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if left.Load() <= 0 {
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(limited{w, &left}, r, "", time.Time{}, strings.NewReader(string(content)))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// limited passes on as many bytes as are left.
type limited struct {
	http.ResponseWriter
	left *atomic.Int64
}

func (l limited) Write(b []byte) (int, error) {
	n := min(int64(len(b)), max(0, l.left.Load()))
	l.left.Add(-n)
	k, err := l.ResponseWriter.Write(b[:n])
	if err == nil && n < int64(len(b)) {
		err = net.ErrClosed
	}
	return k, err
}

// impatient pours as an installer does, without its long waits.
func impatient(ctx context.Context, t Tree) error {
	from := map[ore.Digest][]string{}
	for d, b := range t.Recipe.Blobs {
		from[d] = b.From
	}
	return pour.Pour(ctx, pour.Options{Target: t.Target, Manifest: *t.Recipe.Image, From: from, Client: blob.Client{Pause: time.Microsecond}, Watch: t.Watch})
}

// fromPackages makes the tree of the test image as packages would, on file systems
// that have nothing yet.
func fromPackages(t *testing.T) Filler {
	return func(_ context.Context, to Tree) error {
		if r := to.Recipe; r.Image != nil || r.Disk != nil || r.Strategy != recipe.Packages {
			t.Errorf("packages are installed by %s, over %v", r.Strategy, r.Image)
		}
		have, err := os.ReadDir(to.Target)
		if err != nil || len(have) != 2 { // lost+found and var
			t.Errorf("the disk was not made anew: %v, %v", have, err)
		}
		for _, dir := range []string{"etc", "usr/bin"} {
			err = errors.Join(err, os.MkdirAll(filepath.Join(to.Target, dir), 0o755))
		}
		for name, text := range content {
			err = errors.Join(err, os.WriteFile(filepath.Join(to.Target, name), []byte(text), 0o644))
		}
		return errors.Join(err, os.WriteFile(filepath.Join(to.Target, "usr/big"), big(), 0o644))
	}
}

// Wherever the image's only source dies, the machine is made of packages, and says so.
func TestImageVanishes(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 7))
	for i := range 5 {
		device, _ := loop(t, 300*mib)
		r := sample(t, device)
		layer := r.Image.Layers[0]
		after := random.Int64N(layer.Size)
		if i == 0 {
			after = 0
		}
		t.Run(fmt.Sprintf("after %d of %d bytes", after, layer.Size), func(t *testing.T) {
			address := dies(t, r.Blobs[layer.Digest].From[0], after)
			r.Blobs[layer.Digest] = recipe.Source{Size: layer.Size, From: []string{address}}
			if _, k, err := install(t, r, func(o *Options) { o.Pour = impatient }); err == nil || !strings.HasSuffix(k.stages(), "+base !base") {
				t.Errorf("without packages: %v, told %s", err, k.stages())
			}
			r.Archive = []string{"proxy:http://127.0.0.1:1"}
			_, k, err := install(t, r, func(o *Options) { o.Pour, o.Onto = impatient, fromPackages(t) })
			if err != nil {
				t.Fatal(err)
			}
			if want := "-format +base -base +format -format +base -base +packages -packages +configure -configure +restart"; !strings.HasSuffix(k.stages(), want) {
				t.Errorf("told %s\nwant %s", k.stages(), want)
			}
			said := ""
			for _, r := range k.all {
				said += r.Text + "\n"
			}
			if !strings.Contains(said, "\nnone: packages in place of the image: pour image") || !strings.Contains(said, "cannot be had") {
				t.Errorf("it does not say why:\n%s", said)
			}
			whole(t, r, device)
		})
	}
}

// A disk image that cannot be had is no reason to fail either.
func TestDiskImageVanishes(t *testing.T) {
	device, _ := loop(t, 300*mib)
	r := wholeDisk(t, sample(t, device), device)
	d := r.Disk.Layer
	r.Blobs = map[ore.Digest]recipe.Source{d.Digest: {Size: d.Size, From: []string{dies(t, r.Blobs[d.Digest].From[0], d.Size/2)}}}
	r.Archive = []string{"proxy:http://127.0.0.1:1"}
	_, k, err := install(t, r, func(o *Options) {
		o.Disk = func(ctx context.Context, to diskimage.Target) error {
			to.Client.Pause = time.Microsecond
			return diskimage.Write(ctx, to)
		}
		o.Onto = fromPackages(t)
	})
	if err != nil || !strings.Contains(k.stages(), "+base -base +format -format +base -base +packages") {
		t.Fatalf("%v, told %s", err, k.stages())
	}
	whole(t, r, device)
}

// A disk that fails is not tried with packages, nor is an install that is ended.
func TestNoPackagesForABrokenDisk(t *testing.T) {
	device, _ := loop(t, 300*mib)
	r := sample(t, device)
	r.Archive = []string{"proxy:http://127.0.0.1:1"}
	for _, fault := range []error{unix.EIO, unix.ENOSPC, context.Canceled} {
		ctx, cancel := context.WithCancel(t.Context())
		o := options(t.TempDir())
		o.Pour = func(context.Context, Tree) error {
			if errors.Is(fault, context.Canceled) {
				cancel()
			}
			return fmt.Errorf("write x: %w", fault)
		}
		o.Onto = func(context.Context, Tree) error {
			t.Errorf("%v: packages are installed", fault)
			return nil
		}
		if _, err := Install(ctx, r, o); !errors.Is(err, fault) {
			t.Errorf("%v: %v", fault, err)
		}
		cancel()
	}
}

// What went over to packages goes on with these, and not with an image that it has
// nothing of.
func TestGoesOnWithPackages(t *testing.T) {
	device, _ := loop(t, 300*mib)
	r := sample(t, device)
	r.Archive = []string{"proxy:http://127.0.0.1:1"}
	keep := t.TempDir()
	gone := func(o *Options) {
		o.Keep = keep
		o.Pour = func(context.Context, Tree) error { return errors.New("the depot has gone") }
		o.Onto = func(context.Context, Tree) error { return errors.New("step db: exit status 1") }
	}
	if _, k, err := install(t, r, gone); err == nil || !strings.HasSuffix(k.stages(), "+packages !packages") {
		t.Fatalf("%v, told %s", err, k.stages())
	}
	_, k, err := install(t, r, func(o *Options) {
		o.Keep, o.Onto = keep, fromPackages(t)
		o.Pour = func(context.Context, Tree) error { return errors.New("it is not asked for") }
	})
	if err != nil || !strings.Contains(k.stages(), "-hardware +format -format +base -base +packages -packages") {
		t.Fatalf("%v, told %s", err, k.stages())
	}
	whole(t, r, device)
	if s := look(t, r, device).State(); s != disk.Installed {
		t.Errorf("it is %v", s)
	}
}
