package engine

import (
	"strings"
	"testing"

	"ore"
	"ore/chain/conduct"
	"ore/chain/shape"
)

// A blob goes through one rack before it goes to the next: who stands last in that
// order gives it to nobody, and all others give it. Nor does one on a slow link. So what links the racks
// carries it once. The planner is asked for the hosts as the engine describes them;
// that peers keep to what it draws is shown by its own tests.
func TestRacksFollowEachOther(t *testing.T) {
	for _, c := range []struct {
		summary, racks, here, links, way string
	}{
		{"nothing is known", "", "", "", "a0 a1 a2 a3"},
		{"two racks", "a0=left a1=right a2=right a3=left", "", "", "a0 a3 a1 a2"},
		{"this host's first", "a0=left a1=right a2=right a3=left", "right", "", "a1 a2 a0 a3"},
		{"one host in each", "a0=d a1=c a2=b a3=a", "", "", "a3 a2 a1 a0"},
		{"one on a slow link", "", "", "a0=1e8 a1=1e6 a2=1e8 a3=1e8", "a0 a2 a3 a1"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Setenv(racks, c.racks)
			t.Setenv(links, c.links)
			g := newGround(t, 4)
			e := g.engine()
			e.source.config.Rack = Rack{Name: c.here}
			w := g.reserveOn(e, ask{"racks", 4, "layer"})
			defer w.release()
			d := ore.DigestOf([]byte("layer"))
			tr := e.newTransfer(e.config.Watch)
			for _, h := range e.hosts {
				tr.arrivals[h] = map[ore.Digest]*arrival{d: {}}
			}
			var order conduct.Transfer
			by := tr.receivers(&order, d, e.hosts, nil)
			task := shape.Task{Source: e.source.config.Rack.of(sourceName, 0), Size: 100 << 20, Chunk: 1 << 20}
			for _, r := range order.Receivers {
				task.Receivers = append(task.Receivers, r.Host)
			}
			drawn := shape.Choose(task)
			if drawn.Kind != shape.Chain {
				t.Fatalf("drawn is a %s, want a chain", drawn.Kind)
			}
			var way []string
			for at := shape.Source; len(way) < len(e.hosts); {
				next := -1
				for i, parent := range drawn.Trees[0] {
					if parent == at {
						next = i
					}
				}
				way, at = append(way, by[order.Receivers[next].Name].name()), next
			}
			if got := strings.Join(way, " "); got != c.way {
				t.Errorf("the way is %s, want %s", got, c.way)
			}
		})
	}
}
