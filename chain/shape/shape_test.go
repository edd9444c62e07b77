package shape

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// link is 100 Mbit/s in bytes a second.
const link = 12.5e6

func task(n int, size, chunk int64) Task {
	t := Task{Source: Host{Name: "source", Up: link, Down: link}, Size: size, Chunk: chunk}
	for i := range n {
		t.Receivers = append(t.Receivers, Host{Name: fmt.Sprint(i), Up: link, Down: link})
	}
	return t
}

func TestChooseFitsTheTask(t *testing.T) {
	fat := task(64, 64<<20, 1<<20)
	fat.Source.Up = 10 * link
	slow := task(4, 64<<20, 64<<10)
	slow.Receivers[1].Up, slow.Receivers[1].Down = link/100, link/100
	latency := task(3, 10_000, 32<<10)
	latency.Hop = 0.01
	for _, c := range []struct {
		summary string
		task    Task
		want    Kind
	}{
		{"one receiver", task(1, 64<<20, 64<<10), Direct},
		{"a tiny blob", latency, Direct},
		{"nobody", task(0, 64<<20, 64<<10), Direct},
		{"two receivers", task(2, 64<<20, 64<<10), Chain},
		{"sixteen", task(16, 64<<20, 64<<10), Chain},
		{"a thousand", task(1000, 64<<20, 64<<10), Trees},
		{"a source that can feed several", fat, Chains},
		{"one of four is slow", slow, Chain},
	} {
		got := Choose(c.task)
		if got.Kind != c.want {
			t.Errorf("%s: %s (%.2f s), want %s", c.summary, got.Kind, got.Seconds, c.want)
		}
	}
}

// played is how far what is predicted, by rates alone, may be from what is played chunk by chunk.
const played = 1.05

// TestChooseIsNeverSlowerThanDirect plays both chunk by chunk.
func TestChooseIsNeverSlowerThanDirect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		task := randomTask(t)
		task.Size = min(task.Size, 8<<20) // chunk by chunk, so many are enough
		got := Choose(task)
		took, direct := Last(Simulate(task, got)), Last(Simulate(task, Candidates(task)[0]))
		if took > played*direct {
			t.Errorf("%s takes %.2f s, direct %.2f s", got.Kind, took, direct)
		}
	})
}

func randomTask(t *rapid.T) Task {
	task := task(rapid.IntRange(1, 60).Draw(t, "receivers"), rapid.Int64Range(1, 1<<30).Draw(t, "size"), 64<<10)
	for i := range task.Receivers {
		task.Receivers[i].Up = rapid.Float64Range(1e4, 1e9).Draw(t, "up")
		task.Receivers[i].Down = rapid.Float64Range(1e4, 1e9).Draw(t, "down")
		task.Receivers[i].Rack = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "rack")
	}
	task.Hop = rapid.Float64Range(0, 0.1).Draw(t, "hop")
	return task
}

func TestHopsFollowRacksAndTheSlowComeLast(t *testing.T) {
	k := task(6, 1<<20, 64<<10)
	for i, rack := range []string{"b", "a", "b", "a", "c", "a"} {
		k.Receivers[i].Rack = rack
	}
	k.Source.Rack = "b"
	k.Receivers[0].Up = link / 10
	order, fast := Order(k)
	if want := []int{2, 1, 3, 5, 4, 0}; !slices.Equal(order, want) || fast != 5 {
		t.Errorf("order %v with %d fast, want %v with 5", order, fast, want)
	}
}

// TestTreesAreFair checks what makes the trees fast: nobody sends more than it
// receives, and the depth grows with the logarithm.
func TestTreesAreFair(t *testing.T) {
	for _, n := range []int{8, 16, 64, 257, 1000} {
		order, fast := Order(task(n, 1<<30, 64<<10))
		for k := 2; k <= maxStripes; k++ {
			s := trees(task(n, 1<<30, 64<<10), order, fast, k)
			fan, above := make([]int, n), 0
			for _, parent := range s.Trees {
				if got := len(topDown(parent)); got != n {
					t.Fatalf("%d receivers, %d trees: %d hang from the source", n, k, got)
				}
				for _, p := range parent {
					if p >= 0 {
						fan[p]++
					}
				}
			}
			for _, f := range fan {
				above += max(0, f-k)
			}
			if above > k*k {
				t.Errorf("%d receivers, %d trees: %d children too many in all", n, k, above)
			}
		}
	}
}

// TestChangesKeepTreesWhole lets hosts die, join and be slow at random.
func TestChangesKeepTreesWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		task := randomTask(t)
		all := Candidates(task)
		s := all[rapid.IntRange(0, len(all)-1).Draw(t, "shape")]
		gone := map[int]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			n := len(s.Trees[0])
			h := rapid.IntRange(0, n-1).Draw(t, "host")
			switch {
			case rapid.Bool().Draw(t, "join"):
				s.Join()
			case gone[h]:
			case rapid.Bool().Draw(t, "dies"):
				s.Remove(h)
				gone[h] = true
			case rapid.Bool().Draw(t, "trails"):
				s.Trail(h)
				if !s.Leaf(h) || !s.Trails(h) || s.Demoted(h) {
					t.Fatalf("host %d is not the last of those that trail: %v", h, s.Trees)
				}
			default:
				s.Demote(h)
				if !s.Leaf(h) || s.Trails(h) {
					t.Fatalf("host %d feeds others after it was demoted: %v", h, s.Trees)
				}
			}
			for _, parent := range s.Trees {
				if got, want := len(topDown(parent)), len(parent)-len(gone); got != want {
					t.Fatalf("%d of %d hosts hang from the source: %v", got, want, parent)
				}
			}
		}
	})
}

func TestADeathInAChainIsBypassed(t *testing.T) {
	s := Choose(task(4, 64<<20, 64<<10))
	s.Remove(1)
	if want := []int{Source, Out, 0, 2}; !slices.Equal(s.Trees[0], want) {
		t.Errorf("after the death of 1: %v, want %v", s.Trees[0], want)
	}
	s.Demote(0)
	if want := []int{3, Out, Source, 2}; !slices.Equal(s.Trees[0], want) {
		t.Errorf("after 0 was slow: %v, want %v", s.Trees[0], want)
	}
	if got := s.Join(); got != 4 || s.Trees[0][4] == Source {
		t.Errorf("a latecomer is %d below %d, want it at the tail", got, s.Trees[0][4])
	}
}

// TestWhoTrailsFeedsWhoTrailsBehind has slow hosts follow each other, in the order in
// which they became slow: no link carries more than one copy.
func TestWhoTrailsFeedsWhoTrailsBehind(t *testing.T) {
	s := Choose(task(6, 64<<20, 64<<10))
	for _, step := range []struct {
		summary string
		do      func()
		want    []int // parents
	}{
		{"1 is slow", func() { s.Trail(1) }, []int{Source, 5, 0, 2, 3, 4}},
		{"3 is, too", func() { s.Trail(3) }, []int{Source, 5, 0, 1, 2, 4}},
		{"and 5, which was the tail", func() { s.Trail(5) }, []int{Source, 4, 0, 1, 2, 3}},
		{"1 is slower than those behind it", func() { s.Trail(1) }, []int{Source, 5, 0, 4, 2, 3}},
		{"5 is lost", func() { s.Remove(5) }, []int{Source, 3, 0, 4, 2, Out}},
		{"3 gives nothing", func() { s.Demote(3) }, []int{Source, 4, 0, 4, 2, Out}},
		{"4 is lost", func() { s.Remove(4) }, []int{Source, 2, 0, 2, Out, Out}},
	} {
		step.do()
		if !slices.Equal(s.Trees[0], step.want) {
			t.Errorf("%s: %v, want %v", step.summary, s.Trees[0], step.want)
		}
	}
}

// TestSimulatedThousand plays whole transfers and compares them with the bound
// that no scheme can beat.
func TestSimulatedThousand(t *testing.T) {
	for _, c := range []struct {
		n      int
		size   int64
		least  float64
		deaths int
	}{
		{16, 64 << 20, 0.97, 0},
		{16, 64 << 20, 0.93, 1},
		{64, 64 << 20, 0.93, 0}, // trees could have more if streams shared links evenly
		{1000, 64 << 20, 0.95, 0},
		{1000, 64 << 20, 0.90, 10},
	} {
		k := task(c.n, c.size, 64<<10)
		k.Hop = 0.0005
		s := Choose(k)
		const seed = 7
		random := rand.New(rand.NewPCG(seed, uint64(c.n)))
		var deaths []Death
		for _, h := range random.Perm(c.n)[:c.deaths] {
			deaths = append(deaths, Death{h, random.Float64() * float64(c.size) / link, 0.1})
		}
		last := Last(Simulate(k, s, deaths...))
		bound := Bound(c.n, k.Size, k.Chunk, link)
		eta := float64(c.size) / link / last
		t.Logf("N=%d %s x%d, %d deaths (seed %d): %.3f s, predicted %.3f, eta %.4f, bound/T %.4f", c.n, s.Kind, len(s.Trees), c.deaths, seed, last, s.Seconds, eta, bound/last)
		if eta < c.least {
			t.Errorf("N=%d: eta %.3f, want %.3f", c.n, eta, c.least)
		}
		if last < bound {
			t.Errorf("N=%d: %.3f s is below what is possible, %.3f s: the simulation is wrong", c.n, last, bound)
		}
	}
}

func TestEveryoneAliveGetsAllChunks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 40).Draw(t, "receivers")
		k := task(n, rapid.Int64Range(1, 4<<20).Draw(t, "size"), 64<<10)
		all := Candidates(k)
		s := all[rapid.IntRange(0, len(all)-1).Draw(t, "shape")]
		var deaths []Death
		dead := map[int]bool{}
		for range rapid.IntRange(0, n-1).Draw(t, "deaths") {
			h := rapid.IntRange(0, n-1).Draw(t, "host")
			if !dead[h] {
				dead[h] = true
				deaths = append(deaths, Death{h, rapid.Float64Range(0, 0.5).Draw(t, "at"), rapid.Float64Range(0, 0.3).Draw(t, "noticed")})
			}
		}
		for h, at := range Simulate(k, s, deaths...) {
			if !dead[h] && at == 0 {
				t.Fatalf("host %d of %d never has all; shape %v, deaths %v", h, n, s.Trees, deaths)
			}
		}
	})
}
