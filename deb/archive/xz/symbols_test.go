package xz

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
)

// chunks is what one way of decoding made of LZMA2 data.
type chunks struct {
	out []byte
	err error
	d   *lzma2
}

// decodeChunks decodes at most limit bytes of LZMA2 data with a small
// dictionary. buf is the window's, or nil.
func decodeChunks(data []byte, dict, limit int, onlyGo bool, buf []byte) chunks {
	d := new(lzma2)
	d.buf = buf
	d.lzma.onlyGo = onlyGo
	d.reset(dict, -1)
	c := chunks{d: d}
	r := bytes.NewReader(data)
	for len(c.out) < limit {
		b, err := d.next(r)
		if err != nil {
			c.err = err
			break
		}
		c.out = append(c.out, b...)
	}
	return c
}

// guarded returns a buffer between two pages which nobody can touch, large
// enough never to be replaced for a dictionary of the given size.
func guarded(t testing.TB, dict int) []byte {
	t.Helper()
	page := syscall.Getpagesize()
	size := (2*dict + maxChunkOut + slack + page - 1) / page * page
	m, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(m) })
	for _, edge := range [][]byte{m[:page], m[page+size:]} {
		if err := syscall.Mprotect(edge, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return m[page : page+size : page+size]
}

// compareWays decodes data in assembly, in a guarded buffer, and in Go: bytes,
// error and, where there is none, all probabilities must be the same.
func compareWays(t testing.TB, data []byte, dict int, buf []byte) chunks {
	t.Helper()
	const limit = 1 << 20
	fast := decodeChunks(data, dict, limit, false, buf)
	slow := decodeChunks(data, dict, limit, true, nil)
	if !bytes.Equal(fast.out, slow.out) || fast.err != slow.err {
		t.Fatalf("%d bytes, %v in assembly; %d bytes, %v in Go", len(fast.out), fast.err, len(slow.out), slow.err)
	}
	fast.d.lzma.onlyGo = true
	if fast.err == io.EOF && fast.d.lzma != slow.d.lzma {
		t.Fatal("the probabilities or the state differ")
	}
	return fast
}

// lzma2Of returns the LZMA2 data of one block that xz makes of b, and what
// follows it.
func lzma2Of(t testing.TB, b []byte, options string) []byte {
	t.Helper()
	file := pack(t, b, "--check=none", options)
	return file[edgeSize+(int(file[edgeSize])+1)*4:]
}

// periods repeats patterns of every short length, so that matches of every
// short distance and of many lengths come up.
func periods() []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for d := 1; d <= 40; d++ {
		for n := d; n < 300; n += 1 + n/3 {
			pattern := make([]byte, d)
			for i := range pattern {
				pattern[i] = byte(rng.Uint32())
			}
			b = append(b, bytes.Repeat(pattern, n/d+2)[:d+n]...)
		}
	}
	return b
}

func TestEveryProperty(t *testing.T) {
	in := inputs(t)
	data := append(append(periods()[:12<<10], in["text"][:8<<10]...), in["program"][64<<10:84<<10]...)
	buf := guarded(t, 1<<16)
	for lc := range 5 {
		for lp := range 5 - lc {
			for pb := range 5 {
				o := fmt.Sprintf("--lzma2=preset=4,dict=64KiB,lc=%d,lp=%d,pb=%d", lc, lp, pb)
				if c := compareWays(t, lzma2Of(t, data, o), 1<<16, buf); c.err != io.EOF || !bytes.Equal(c.out, data) {
					t.Errorf("%s: %d bytes of %d, %v", o, len(c.out), len(data), c.err)
				}
			}
		}
	}
}

func TestShortDistances(t *testing.T) {
	data := periods()
	for _, dict := range []int{4 << 10, 8 << 20} {
		for _, preset := range []string{"0", "6", "9e"} {
			o := fmt.Sprintf("--lzma2=preset=%s,dict=%d", preset, dict)
			if c := compareWays(t, lzma2Of(t, data, o), dict, guarded(t, dict)); c.err != io.EOF || !bytes.Equal(c.out, data) {
				t.Errorf("%s: %d bytes of %d, %v", o, len(c.out), len(data), c.err)
			}
		}
	}
}

// TestCuts cuts a stream at every byte.
func TestCuts(t *testing.T) {
	data := lzma2Of(t, []byte(strings.Repeat("a text that repeats, and ", 9)+string(periods()[:700])), "--lzma2=preset=6")
	buf := guarded(t, 1<<12)
	for i := range data {
		compareWays(t, data[:i], 1<<12, buf)
	}
}

// TestMutations damages real streams at random places: the two ways must agree
// on what comes out, and the assembly must stay in its buffer.
func TestMutations(t *testing.T) {
	in := inputs(t)
	rng := rand.New(rand.NewPCG(3, 4))
	const dict = 1 << 14
	buf := guarded(t, dict)
	refused := 0
	for _, content := range [][]byte{in["program"][1<<20 : 1<<20+100<<10], in["text"][:50<<10], periods(), in["mixed"][40<<10 : 140<<10]} {
		data := lzma2Of(t, content, fmt.Sprintf("--lzma2=preset=5,dict=%d", dict))
		for range 150 {
			bad := bytes.Clone(data)
			for range 1 + rng.IntN(3) {
				bad[rng.IntN(len(bad))] ^= byte(1 + rng.IntN(255))
			}
			if compareWays(t, bad, dict, buf).err != io.EOF {
				refused++
			}
		}
	}
	if refused < 300 {
		t.Errorf("only %d of 600 damaged streams were refused", refused)
	}
}

// FuzzSymbols feeds LZMA2 data, which has no checks that would hide the
// symbols from the fuzzer, to both ways of decoding.
func FuzzSymbols(f *testing.F) {
	text := []byte(strings.Repeat("a text that repeats, and ", 9))
	for _, o := range []string{"--lzma2=preset=6", "--lzma2=preset=0,lc=0,lp=4,pb=4", "--lzma2=preset=9,lc=4,lp=0,pb=0"} {
		for _, b := range [][]byte{text, periods()[:3000], inputs(f)["program"][1<<20 : 1<<20+5000], make([]byte, 5000)} {
			f.Add(lzma2Of(f, b, o))
		}
	}
	buf := guarded(f, 1<<12)
	f.Fuzz(func(t *testing.T, data []byte) {
		compareWays(t, data, 1<<12, buf)
	})
}
