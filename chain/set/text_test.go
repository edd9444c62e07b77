package set_test

import (
	"testing"

	"ore/chain/set"
)

// TestTextsOfSets has stripes of all lengths, which repeat themselves, and sets with
// one chunk more or less, which do not.
func TestTextsOfSets(t *testing.T) {
	for n := range 700 {
		for _, stripes := range []int{1, 2, 3, 4, 7, 64, 100} {
			s := set.New(n)
			for i := stripes - 1; i < n; i += stripes {
				s.Add(i)
			}
			same(t, s)
			if n > 0 {
				if s.Has(n - 1) {
					s.Remove(n - 1)
				} else {
					s.Add(n - 1)
				}
				same(t, s)
			}
		}
	}
}

// same fails the test unless the set's text gives the set.
func same(t *testing.T, s set.Set) {
	t.Helper()
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var back set.Set
	if err := back.UnmarshalText(text); err != nil || !back.Equal(s) {
		t.Fatalf("text %q of %v gives %v: %v", text, s, back, err)
	}
}

// TestAStripesTextIsShort holds what an order has to say of half of a large blob.
func TestAStripesTextIsShort(t *testing.T) {
	s := set.New(100_000)
	for i := 1; i < s.Of(); i += 2 {
		s.Add(i)
	}
	if text, err := s.MarshalText(); err != nil || len(text) > 20 {
		t.Errorf("%d bytes, want no more than 20: %v", len(text), err)
	}
}

func FuzzTextOfASet(f *testing.F) {
	for _, s := range []set.Set{set.New(0), set.Full(1), set.Full(130), of(0, 63, 64, 129)} {
		text, err := s.MarshalText()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("ggE=")) // 130 chunks, and no bits
	f.Fuzz(func(t *testing.T, text []byte) {
		var s set.Set
		if s.UnmarshalText(text) != nil {
			return
		}
		if s.Count() > s.Of() {
			t.Errorf("%q: %d of %d chunks", text, s.Count(), s.Of())
		}
		same(t, s)
	})
}
