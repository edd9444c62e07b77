package set_test

import (
	"testing"

	"ore/chain/set"
)

// of returns the set of these chunks, of a blob with 130.
func of(chunks ...int) set.Set {
	s := set.New(130)
	for _, i := range chunks {
		s.Add(i)
	}
	return s
}

func TestSets(t *testing.T) {
	a, b := of(0, 63, 64, 129), of(63, 100)
	for what, s := range map[string][2]set.Set{
		"both": {a.With(b), of(0, 63, 64, 100, 129)}, "without": {a.Without(b), of(0, 64, 129)}, "a copy": {a.Clone(), a},
	} {
		if !s[0].Equal(s[1]) {
			t.Errorf("%s: %v, want %v", what, s[0], s[1])
		}
	}
	if n := a.Shared(b); n != 1 {
		t.Errorf("%d chunks are in both, want 1", n)
	}
	if full := set.Full(130); full.Count() != 130 || full.Has(130) || full.Equal(set.Full(129)) {
		t.Errorf("the full set has %d chunks", full.Count())
	}
}
