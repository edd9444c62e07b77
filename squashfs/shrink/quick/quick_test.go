package quick

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// samples are blocks of many kinds, by name.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	own, err := os.ReadFile("/proc/self/exe") // machine code, tables and text
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	words := make([]byte, 0, 400_000)
	for len(words) < 390_000 {
		words = fmt.Appendf(words, "%d %x\n", r.IntN(50), r.IntN(1<<r.IntN(20)))
	}
	far := bytes.Repeat(noise[:130_000], 3) // distances as long as a part, and longer
	rare := make([]byte, 200_000)           // few kinds of bytes, and long runs
	for i := range rare {
		rare[i] = "ab"[r.IntN(2)&r.IntN(2)&r.IntN(2)&r.IntN(2)]
	}
	all := map[string][]byte{
		"empty": nil, "one": {7}, "text": words, "noise": noise, "far": far, "rare": rare,
		"zeros": make([]byte, MaxBlock), "code": own[:MaxBlock], "code2": own[len(own)/2 : len(own)/2+MaxBlock],
		"runs": bytes.Repeat(append(bytes.Repeat([]byte{1}, 70_000), 2, 3, 4), 9),
	}
	for i := range 600 {
		all[fmt.Sprintf("short %d", i)] = own[10_000+i : 10_000+2*i]
		all[fmt.Sprintf("repeated %d", i)] = append(append([]byte("abcd"), noise[:i]...), noise[i/2:i]...)
	}
	return all
}

func decoder(t testing.TB) *zstd.Decoder {
	t.Helper()
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// What is compressed is what it was, whatever was compressed before, and always the same.
func TestRoundTrip(t *testing.T) {
	d, e := decoder(t), New()
	for name, b := range samples(t) {
		packed := e.Encode([]byte("before"), b)
		if fresh := New().Encode(nil, b); !bytes.Equal(packed, append([]byte("before"), fresh...)) {
			t.Errorf("%s: what was compressed before makes a difference", name)
		}
		got, err := d.DecodeAll(packed[len("before"):], nil)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes become %d, and then %d: %v", name, len(b), len(packed), len(got), err)
		}
		if len(packed) > len(b)+64 {
			t.Errorf("%s: %d bytes become %d", name, len(b), len(packed))
		}
	}
}

// zstd itself reads the frames, and makes them hardly smaller at its level 1.
func TestZstd(t *testing.T) {
	program, err := exec.LookPath("zstd")
	if err != nil {
		t.Fatalf("Debian's package zstd is needed: %v", err)
	}
	e := New()
	const block = 256 << 10
	for _, name := range []string{"text", "code", "far", "rare"} {
		b := samples(t)[name]
		ours, theirs := 0, 0
		var frames []byte
		for len(b) > 0 {
			n := min(len(b), block)
			packed := e.Encode(nil, b[:n])
			frames = append(frames, packed...)
			ours += len(packed)
			c := exec.Command(program, "-1", "-q", "--no-check")
			c.Stdin = bytes.NewReader(b[:n])
			out, err := c.Output()
			if err != nil {
				t.Fatal(err)
			}
			theirs += len(out)
			b = b[n:]
		}
		c := exec.Command(program, "-d", "-q")
		c.Stdin = bytes.NewReader(frames)
		if out, err := c.Output(); err != nil || !bytes.Equal(out, samples(t)[name]) {
			t.Errorf("%s: zstd: %d bytes, %v", name, len(out), err)
		}
		t.Logf("%s: %d bytes, by zstd %d: %.3f", name, ours, theirs, float64(ours)/float64(theirs))
		if float64(ours) > 1.06*float64(theirs) {
			t.Errorf("%s: %d bytes, by zstd -1 %d", name, ours, theirs)
		}
	}
}

// Numbers of blocks before never come up again, also when they begin anew.
func TestBase(t *testing.T) {
	d, e := decoder(t), New()
	b := samples(t)["text"]
	for _, base := range []uint32{1<<32 - 3*MaxBlock, 1<<32 - 2*MaxBlock, 1<<32 - 2*MaxBlock - 5} {
		e.base = base
		clear(e.table[:])
		for range 6 {
			got, err := d.DecodeAll(e.Encode(nil, b), nil)
			if err != nil || !bytes.Equal(got, b) {
				t.Fatalf("base %d: %v", base, err)
			}
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("abcabcabcabcabcabcabcabcabcabcabcabcabcabc"), uint8(3), uint16(9))
	f.Add(bytes.Repeat([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8}, 40), uint8(200), uint16(60000))
	d, e := decoder(f), New()
	f.Fuzz(func(t *testing.T, b []byte, times uint8, cut uint16) {
		b = bytes.Repeat(b, int(times)+1)
		b = b[min(len(b), int(cut)):]
		b = b[:min(len(b), MaxBlock)]
		got, err := d.DecodeAll(e.Encode(nil, b), nil)
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%d bytes become %d: %v", len(b), len(got), err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	data := samples(b)["code"][:256<<10]
	e, room := New(), make([]byte, 0, 300<<10)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		e.Encode(room, data)
	}
}
