package xz

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	ulikunitz "github.com/ulikunitz/xz"
)

// pack compresses b with the xz program.
func pack(t testing.TB, b []byte, args ...string) []byte {
	t.Helper()
	c := exec.Command("xz", append([]string{"-c", "-T1"}, args...)...)
	c.Stdin = bytes.NewReader(b)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("xz %v: %v", args, err)
	}
	return out
}

// inputs are contents of different kinds.
func inputs(t testing.TB) map[string][]byte {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 60<<10)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(noise)
	var text bytes.Buffer
	for i := range 4000 {
		fmt.Fprintf(&text, "line %d of a text, %d\n", i, i*i%977)
	}
	mixed := append(append(bytes.Clone(noise[:50<<10]), text.Bytes()...), noise...)
	return map[string][]byte{
		"empty": nil, "one": {7}, "program": self[:min(len(self), 5<<19)], "noise": noise,
		"text": text.Bytes(), "zeros": make([]byte, 3<<20), "mixed": append(mixed, mixed...),
	}
}

// TestAgainstXZ decodes what the xz program makes with options of all kinds.
func TestAgainstXZ(t *testing.T) {
	options := []string{
		"-6", "-0 --check=none", "-1 --check=crc32", "-9e --check=sha256", "--block-size=300000",
		"--x86 --lzma2=preset=6", "--x86 --lzma2=preset=0,dict=4KiB", "--lzma2=preset=6,dict=4KiB", "--lzma2=preset=6,lc=0,lp=4,pb=4",
		"--lzma2=preset=6,lc=4,lp=0,pb=0", "--lzma2=preset=6,nice=4,mf=hc3", "--block-size=500000 --lzma2=preset=1,dict=64KiB",
	}
	for name, in := range inputs(t) {
		for _, o := range options {
			// Two of the options suffice for the large inputs: a usual one,
			// and one whose window moves often.
			if len(in) > 1<<20 && o != "-0 --check=none" && o != "--x86 --lzma2=preset=0,dict=4KiB" {
				continue
			}
			got, err := io.ReadAll(NewReader(bytes.NewReader(pack(t, in, strings.Fields(o)...))))
			if err != nil || !bytes.Equal(got, in) {
				t.Errorf("%s, xz %s: %d bytes of %d, %v", name, o, len(got), len(in), err)
			}
		}
	}
}

// TestThreads decodes what several threads of xz made, whose block headers
// hold sizes.
func TestThreads(t *testing.T) {
	in := inputs(t)["mixed"]
	c := exec.Command("xz", "-c", "-T4", "--block-size=100000")
	c.Stdin = bytes.NewReader(in)
	b, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(NewReader(bytes.NewReader(b)))
	if err != nil || !bytes.Equal(got, in) {
		t.Errorf("%d bytes of %d, %v", len(got), len(in), err)
	}
}

func TestStreamsAndPadding(t *testing.T) {
	a, b := pack(t, []byte("one ")), pack(t, []byte("two"), "--check=crc32")
	for _, c := range []struct {
		summary string
		file    []byte
		want    string
		ok      bool
	}{
		{"two streams", append(bytes.Clone(a), b...), "one two", true},
		{"padding", append(append(bytes.Clone(a), make([]byte, 8)...), b...), "one two", true},
		{"padding at the end", append(bytes.Clone(a), make([]byte, 4)...), "one ", true},
		{"bad padding", append(bytes.Clone(a), make([]byte, 3)...), "one ", false},
		{"padding at the start", append(make([]byte, 4), a...), "", false},
		{"rubbish behind", append(bytes.Clone(a), "rubbish, long enough"...), "one ", false},
		{"nothing", nil, "", false},
	} {
		got, err := io.ReadAll(NewReader(bytes.NewReader(c.file)))
		if string(got) != c.want || (err == nil) != c.ok {
			t.Errorf("%s: %q, %v", c.summary, got, err)
		}
	}
}

// TestDamage flips every bit and cuts at every byte of small files: no change
// may go unnoticed.
func TestDamage(t *testing.T) {
	in := []byte(strings.Repeat("a text that repeats, ", 5))
	for _, o := range []string{"--check=crc64", "--check=sha256", "--x86 --lzma2"} {
		b := pack(t, in, strings.Fields(o)...)
		for i := range b {
			for bit := range 8 {
				bad := bytes.Clone(b)
				bad[i] ^= 1 << bit
				if got, err := io.ReadAll(NewReader(bytes.NewReader(bad))); err == nil {
					t.Errorf("%s: bit %d of byte %d: no error (same content: %v)", o, bit, i, bytes.Equal(got, in))
				}
			}
			if _, err := io.ReadAll(NewReader(bytes.NewReader(b[:i]))); err == nil {
				t.Errorf("%s: cut to %d bytes: no error", o, i)
			}
		}
	}
}

// TestSecondWriter decodes what another encoder makes.
func TestSecondWriter(t *testing.T) {
	in := inputs(t)["mixed"]
	var b bytes.Buffer
	w, err := ulikunitz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(in); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(NewReader(&b))
	if err != nil || !bytes.Equal(got, in) {
		t.Errorf("%d bytes of %d, %v", len(got), len(in), err)
	}
}

func TestSmallMemory(t *testing.T) {
	b := pack(t, []byte("small"), "-9") // a dictionary of 64 MiB, says its header
	r := NewReader(bytes.NewReader(b))
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	if n := len(r.block.lzma2.buf); n > 1<<20 {
		t.Errorf("%d bytes of memory for 5 of content", n)
	}
}

// FuzzReader sees that no input panics or takes memory without end, and that
// both ways of reading agree.
func FuzzReader(f *testing.F) {
	for _, o := range []string{"-6", "--check=none", "--x86 --lzma2", "--block-size=16"} {
		f.Add(pack(f, []byte(strings.Repeat("\xe8\x00\x01\x00\x00 some calls, ", 5)), strings.Fields(o)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 22
		one, err1 := io.ReadAll(io.LimitReader(NewReader(bytes.NewReader(b)), limit))
		if len(one) == limit {
			return
		}
		var two bytes.Buffer
		_, err2 := NewReader(bytes.NewReader(b)).WriteTo(&two)
		if !bytes.Equal(one, two.Bytes()) || (err1 == nil) != (err2 == nil) {
			t.Errorf("%d bytes, %v; then %d bytes, %v", len(one), err1, two.Len(), err2)
		}
	})
}

// BenchmarkDecode compares with the code for other architectures, the xz
// program and another decoder; XZ_FILE names a real file to use.
func BenchmarkDecode(b *testing.B) {
	in := pack(b, inputs(b)["program"])
	if name := os.Getenv("XZ_FILE"); name != "" {
		var err error
		if in, err = os.ReadFile(name); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		copy func() (int64, error)
	}{
		{"this", func() (int64, error) { return io.Copy(io.Discard, NewReader(bytes.NewReader(in))) }},
		{"only Go", func() (int64, error) {
			r := NewReader(bytes.NewReader(in))
			r.block.lzma2.lzma.onlyGo = true
			return io.Copy(io.Discard, r)
		}},
		{"xz program", func() (int64, error) {
			var n count
			c := exec.Command("xz", "-dc", "-T1")
			c.Stdin, c.Stdout = bytes.NewReader(in), &n
			return int64(n), c.Run()
		}},
		{"ulikunitz", func() (int64, error) {
			r, err := ulikunitz.NewReader(bytes.NewReader(in))
			if err != nil {
				return 0, err
			}
			return io.Copy(io.Discard, r)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				n, err := c.copy()
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
			}
		})
	}
}

type count int64

func (c *count) Write(p []byte) (int, error) { *c += count(len(p)); return len(p), nil }

// TestReset decodes one file after another with one Reader: nothing of a file
// before, a damaged one among them, is left in the next.
func TestReset(t *testing.T) {
	all := inputs(t)
	r := NewReader(strings.NewReader("no xz"))
	for _, name := range []string{"text", "zeros", "one", "noise", "empty", "mixed"} {
		b := pack(t, all[name], "-1")
		bad := bytes.Clone(b[:len(b)-9])
		for _, file := range [][]byte{bad, b} {
			r.Reset(bytes.NewReader(file))
			got, err := io.ReadAll(r)
			if whole := len(file) == len(b); (err == nil) != whole || whole && !bytes.Equal(got, all[name]) {
				t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(all[name]), err)
			}
		}
	}
}
