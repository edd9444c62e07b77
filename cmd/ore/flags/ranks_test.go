package flags

import (
	"slices"
	"testing"

	"ore/job"
)

func TestRanks(t *testing.T) {
	for text, want := range map[string][]int{"": nil, "0": {0}, "0,2-4": {0, 2, 3, 4}, "m1,m1-2": {1, 2}} {
		if got, err := Ranks(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "3-1", "-1", "0,", "1-99999999"} {
		if got, err := Ranks(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzRanks(f *testing.F) {
	f.Add("0,2-4")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := Ranks(text)
		for _, r := range all {
			if err != nil || r < 0 || r > job.MaxMachines {
				t.Errorf("%q: %v, %v", text, all, err)
			}
		}
	})
}
