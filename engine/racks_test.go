package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A blob goes through one rack before it goes to the next: who stands last in that
// order gives it to nobody, and all others give it. So what links the racks
// carries it once.
func TestRacksFollowEachOther(t *testing.T) {
	for _, c := range []struct {
		summary, racks, here, last string
	}{
		{"nothing is known", "", "", "a3"},
		{"two racks", "a0=left a1=right a2=right a3=left", "", "a2"},
		{"this host's first", "a0=left a1=right a2=right a3=left", "right", "a3"},
		{"one host in each", "a0=d a1=c a2=b a3=a", "", "a0"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Setenv(racks, c.racks)
			g := newGround(t, 4)
			e := g.engine()
			e.source.config.Rack = Rack{Name: c.here}
			random := rand.NewChaCha8([32]byte{byte(len(c.racks)), byte(len(c.here))})
			layer := make([]byte, 800_000) // some chunks, and over before anybody could be called slow
			if _, err := random.Read(layer); err != nil {
				t.Fatal(err)
			}
			w := g.reserveOn(e, ask{"racks", 4, string(layer)})
			defer w.release()
			var gave []string
			for _, s := range w.stages {
				var in, out float64
				if n, err := fmt.Sscanf(s.Note, "%f MB in, %f MB out", &in, &out); n != 2 || err != nil {
					t.Fatalf("%q: %v", s.Note, err)
				}
				if s.Machine != sourceName && in > 0.5 && out > 0.5 && !slices.Contains(gave, s.Machine) {
					gave = append(gave, s.Machine)
				}
			}
			if len(gave) != 3 || strings.Contains(strings.Join(gave, " "), c.last) {
				t.Errorf("%v gave it on, want all but %s", gave, c.last)
			}
		})
	}
}
