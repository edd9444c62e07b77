package seal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// agree returns both ends of a session.
func agree(t testing.TB, s Secrets) (a, b *Session) {
	t.Helper()
	g, err := s.Greet(7, 1)
	if err != nil {
		t.Fatal(err)
	}
	m, b, err := s.Answer(g.Message, 9)
	if err != nil {
		t.Fatal(err)
	}
	if len(m) > len(g.Message) {
		t.Errorf("the answer of %d bytes to %d amplifies", len(m), len(g.Message))
	}
	if a = s.Complete(g, m); a == nil {
		t.Fatal("the answer was refused")
	}
	if a.Index() != 7 || b.Index() != 9 {
		t.Fatalf("indexes %d and %d", a.Index(), b.Index())
	}
	return a, b
}

// sealed returns a datagram that holds text.
func sealed(s *Session, text string) []byte {
	b := make([]byte, HeadSize+len(text)+TagSize)
	copy(b[HeadSize:], text)
	return b[:s.Seal(b, len(text))]
}

func TestBothDirections(t *testing.T) {
	a, b := agree(t, NewSecrets(NewKey()))
	for i, way := range [][2]*Session{{a, b}, {b, a}, {a, b}} {
		want := fmt.Sprint("text ", i)
		d := sealed(way[0], want)
		if bytes.Contains(d, []byte("text")) {
			t.Error("the text can be read on the way")
		}
		if Index(d) != way[1].Index() {
			t.Errorf("the datagram is for session %d", Index(d))
		}
		got, err := way[1].Open(d)
		if err != nil || string(got) != want {
			t.Errorf("got %q, %v", got, err)
		}
	}
	// What one has sent does not come back to it as the other's.
	d := sealed(a, "mine")
	if _, err := a.Open(d); err == nil {
		t.Error("a datagram was opened by who sealed it")
	}
}

// TestEveryBitCounts changes each bit of each message.
func TestEveryBitCounts(t *testing.T) {
	s := NewSecrets(NewKey())
	g, err := s.Greet(7, 1)
	if err != nil {
		t.Fatal(err)
	}
	m, b, err := s.Answer(g.Message, 9)
	if err != nil {
		t.Fatal(err)
	}
	a := s.Complete(g, m)
	flips(g.Message, func(c []byte, bit int) {
		if _, ok := ParseHello(c); ok && s.Authentic(c) {
			t.Errorf("a hello with bit %d changed was taken", bit)
		}
	})
	flips(m, func(c []byte, bit int) {
		if s.Complete(g, c) != nil {
			t.Errorf("an answer with bit %d changed was taken", bit)
		}
	})
	d := sealed(a, "some text")
	flips(d, func(c []byte, bit int) {
		if Index(c) != b.Index() {
			return // for another session, which cannot open it
		}
		if _, err := b.Open(c); err == nil {
			t.Errorf("data with bit %d changed was taken", bit)
		}
	})
	for n := range len(d) {
		if n < HeadSize {
			continue
		}
		if _, err := b.Open(bytes.Clone(d[:n])); err == nil {
			t.Errorf("data cut to %d bytes was taken", n)
		}
	}
	if _, err := b.Open(d); err != nil {
		t.Errorf("the true one after all these: %v", err)
	}
}

func flips(b []byte, f func(c []byte, bit int)) {
	for bit := range 8 * len(b) {
		c := bytes.Clone(b)
		c[bit/8] ^= 1 << (bit % 8)
		f(c, bit)
	}
}

func TestKeysOfPairs(t *testing.T) {
	job := NewKey()
	ab := PairKey(job, "a", "b")
	if ab != PairKey(job, "b", "a") {
		t.Error("the key depends on who is named first")
	}
	for name, other := range map[string]Key{
		"another pair": PairKey(job, "a", "c"), "another job": PairKey(NewKey(), "a", "b"), "names that run together": PairKey(job, "a\" \"b", ""),
	} {
		s := NewSecrets(other)
		g, err := NewSecrets(ab).Greet(1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if other == ab || s.Authentic(g.Message) || s.Name() == NewSecrets(ab).Name() {
			t.Errorf("%s has the same key", name)
		}
	}
	if fmt.Sprint(ab) != "(secret)" || fmt.Sprintf("%v", struct{ K Key }{ab}) != "{(secret)}" {
		t.Error("the key is shown")
	}
	b, err := json.Marshal(ab)
	if err != nil {
		t.Fatal(err)
	}
	var back Key
	if err := json.Unmarshal(b, &back); err != nil || back != ab {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{`""`, `"00"`, `"` + string(bytes.Repeat([]byte("zz"), 32)) + `"`, `1`} {
		if json.Unmarshal([]byte(bad), &back) == nil {
			t.Errorf("%s was taken for a key", bad)
		}
	}
}

// TestSessionsDiffer proves that the same greeting answered twice makes two
// sessions: nonces of one key are never used again.
func TestSessionsDiffer(t *testing.T) {
	s := NewSecrets(NewKey())
	g, err := s.Greet(7, 1)
	if err != nil {
		t.Fatal(err)
	}
	m1, b1, err := s.Answer(g.Message, 9)
	if err != nil {
		t.Fatal(err)
	}
	m2, b2, err := s.Answer(g.Message, 9)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(sealed(b1, "same"), sealed(b2, "same")) {
		t.Error("two sessions seal alike")
	}
	if _, err := s.Complete(g, m1).Open(sealed(b2, "x")); err == nil {
		t.Error("one session's data was opened by the other")
	}
	if s.Complete(g, m2) == nil {
		t.Error("the second answer is as good as the first")
	}
	other, err := s.Greet(7, 2)
	if err != nil {
		t.Fatal(err)
	}
	if s.Complete(other, m1) != nil {
		t.Error("an answer was taken for that to another greeting")
	}
}

// TestPointsOfSmallOrder are refused: they make a secret that all know.
func TestPointsOfSmallOrder(t *testing.T) {
	s := NewSecrets(NewKey())
	g, err := s.Greet(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	clear(g.Message[24 : 24+pointSize])
	if _, _, err := s.Answer(g.Message, 2); err == nil {
		t.Error("a point of order one was taken")
	}
}

// TestWindow compares with the obvious way to do it.
func TestWindow(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		var w window
		seen, next := map[uint64]bool{}, uint64(0)
		for range 20000 {
			var c uint64
			switch r.IntN(10) {
			case 0:
				c = next + r.Uint64N(3*windowSize)
			case 1, 2, 3:
				c = next - min(next, r.Uint64N(2*windowSize))
			case 4:
				c = next - min(next, windowSize+r.Uint64N(3)-1)
			default:
				c = next + r.Uint64N(3)
			}
			want := !seen[c] && c+windowSize >= next
			if got := w.fresh(c); got != want {
				t.Fatalf("%d with %d next: %v, want %v", c, next, got, want)
			}
			if want {
				w.mark(c)
				seen[c] = true
				next = max(next, c+1)
			}
		}
	}
}

func TestReplayed(t *testing.T) {
	a, b := agree(t, NewSecrets(NewKey()))
	var all [][]byte
	for i := range 100 {
		all = append(all, sealed(a, fmt.Sprint(i)))
	}
	for _, i := range rand.Perm(len(all)) {
		if got, err := b.Open(bytes.Clone(all[i])); err != nil || string(got) != fmt.Sprint(i) {
			t.Errorf("%q, %v", got, err)
		}
	}
	for i := range all {
		if _, err := b.Open(all[i]); err != ErrReplayed {
			t.Errorf("a second time: %v", err)
		}
	}
}

func TestKeysGetOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := agree(t, NewSecrets(NewKey()))
		if a.Old(time.Now()) || !a.Old(time.Now().Add(RekeyAfter)) {
			t.Error("age is not what makes keys old")
		}
		a.sent.Store(rekeyCount - 1)
		if _, err := b.Open(sealed(a, "x")); err != nil {
			t.Fatal(err)
		}
		if !a.Old(time.Now()) || !b.Old(time.Now()) {
			t.Error("both ends should know that the keys were used much")
		}
		a.sent.Store(mostCount)
		if d := sealed(a, "x"); len(d) != 0 {
			t.Errorf("a key that is used up sealed %x", d)
		}
	})
}

func FuzzOpen(f *testing.F) {
	s := NewSecrets(Key{1})
	a, b := agree(f, s)
	g, err := s.Greet(3, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(g.Message)
	f.Add(sealed(a, "x"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, d []byte) {
		if h, ok := ParseHello(d); ok && h.Name == s.Name() && s.Authentic(d) && !bytes.Equal(d, g.Message) {
			t.Errorf("a hello was made without the key")
		}
		if s.Complete(g, d) != nil {
			t.Error("an answer was made without the key")
		}
		if _, err := b.Open(d); err == nil && !bytes.Equal(d[:4], []byte{KindData, Version, 0, 0}) {
			t.Error("data was made without the key")
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{1472, 16000, 65000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, o := agree(b, NewSecrets(NewKey()))
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			for range b.N {
				s.sent.Store(s.sent.Load() % rekeyCount)
				o.window = window{}
				d := buf[:s.Seal(buf, n-Overhead)]
				if _, err := o.Open(d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
