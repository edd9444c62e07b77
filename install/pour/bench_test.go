package pour

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ore"
	"ore/install/pour/blob"
)

// BenchmarkPour compares pouring a layer, which comes over HTTP, with expanding
// the same layer when it has come. The layer is that of $ORE_BENCH_LAYER, or is
// made of the Go distribution's files.
func BenchmarkPour(b *testing.B) {
	root(b)
	name := os.Getenv("ORE_BENCH_LAYER")
	if name == "" {
		goroot, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			b.Skip("no layer is named, and there is no Go to make one of")
		}
		name = filepath.Join(b.TempDir(), "layer")
		src := filepath.Join(string(goroot[:len(goroot)-1]), "src")
		if out, err := exec.Command("mksquashfs", src, name, "-comp", "zstd", "-Xcompression-level", "3", "-quiet", "-no-progress").CombinedOutput(); err != nil {
			b.Skipf("mksquashfs: %v: %s", err, out)
		}
	}
	layer, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	s := serve(b, nil, layer)
	place := b.TempDir() // both write to one file system
	b.Run("pour", func(b *testing.B) {
		defer cpu(b)()
		b.SetBytes(int64(len(layer)))
		for b.Loop() {
			o := order(b, [][]byte{layer}, s)
			o.Target = fresh(b, place)
			if err := Pour(b.Context(), o); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unsquashfs", func(b *testing.B) {
		defer cpu(b)()
		b.SetBytes(int64(len(layer)))
		for b.Loop() {
			out, err := exec.Command("unsquashfs", "-quiet", "-no-progress", "-f", "-d", fresh(b, place), name).CombinedOutput()
			if err != nil {
				b.Fatalf("unsquashfs: %v: %s", err, out)
			}
		}
	})
	b.Run("tables", func(b *testing.B) { // what is done before the first block
		defer cpu(b)()
		for b.Loop() {
			locateAll(b, s, layer)
		}
	})
}

// cpu reports the CPU time of an operation, which other load changes less than
// it does the time by the clock. That of removing the tree before is in it.
func cpu(b *testing.B) func() {
	used := func() (s float64) {
		for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
			var u unix.Rusage
			if err := unix.Getrusage(who, &u); err != nil {
				b.Fatal(err)
			}
			s += float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
		}
		return s
	}
	before := used()
	return func() { b.ReportMetric((used()-before)/float64(b.N), "cpu-s/op") }
}

// fresh returns an empty folder, and removes the one before.
func fresh(b *testing.B, place string) string {
	b.StopTimer()
	defer b.StartTimer()
	dir := filepath.Join(place, "tree")
	if err := os.RemoveAll(dir); err != nil {
		b.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	return dir
}

func locateAll(b *testing.B, s *source, bytes []byte) {
	o := order(b, [][]byte{bytes}, s)
	d := ore.DigestOf(bytes)
	l, err := openLayer(b.Context(), &o.Client, blob.Blob{Digest: d, Size: int64(len(bytes)), From: o.From[d]}, &meter{})
	if err != nil {
		b.Fatal(err)
	}
	team := make([]*worker, workers())
	for i := range team {
		if team[i], err = l.worker(); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := l.locate(b.Context(), team, merge([]*layer{l}).content(0)); err != nil {
		b.Fatal(err)
	}
}
