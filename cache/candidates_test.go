package cache

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"ore"
	"ore/cache/index"
	"ore/cache/kind"
	"ore/image"
)

// pkg makes a package of which there are three versions.
func pkg(n, version int) ore.Package {
	p := ore.Package{Name: fmt.Sprintf("lib%05d", n), Version: fmt.Sprintf("1.%d-1", version), Arch: "amd64", Size: int64(n%40+1) * 20_000, Base: n < 100}
	p.Digest = ore.DigestOf([]byte(p.String()))
	return p
}

func environment(packages []ore.Package, manual ...string) ore.Environment {
	e := ore.Environment{Version: 1, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Arch: "amd64", Packages: packages, Manual: manual}
	e.Sort()
	return e
}

// fill lists images of envs whose blobs are not there: candidates are hints.
func fill(t testing.TB, c *Cache, envs []ore.Environment) {
	t.Helper()
	err := c.write(context.Background(), func(tx *sql.Tx) error {
		for i, e := range envs {
			d := ore.DigestOf([]byte("layer" + strconv.Itoa(i)))
			m := image.Manifest{Version: 1, Key: e.Key(), Environment: e, Tree: d, Layers: []image.Layer{{Digest: d, Size: 1000}}}
			if err := insert(context.Background(), tx, row{m: m, digest: d, now: int64(i), tookMS: 1000}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// naiveCandidates goes through all environments, package by package.
func naiveCandidates(r index.Rank, listed []ore.Environment, env ore.Environment, max int) []Candidate {
	type scored struct {
		Candidate
		at    int
		score int64
	}
	var all []scored
	for at, e := range listed {
		if e.Base != env.Base || e.Arch != env.Arch {
			continue
		}
		if !kind.Plain(e) && (kind.Short(e.Packages) != kind.Short(env.Packages) || kind.Short(e.Files) != kind.Short(env.Files)) {
			continue
		}
		s := scored{at: at, Candidate: Candidate{Exact: e.Key() == env.Key(), Missing: []ore.Package{}, Extra: []ore.Package{}}}
		s.Key = e.Key()
		asks := true
		for i, h := range kind.Steps(e.Steps) {
			if !slices.Contains(kind.Steps(env.Steps), h) {
				asks = false
			}
			s.Ran = append(s.Ran, e.Steps[i].Name)
		}
		overlap := 0
		for _, p := range e.Packages {
			if slices.ContainsFunc(env.Packages, func(q ore.Package) bool { return index.Hash(p) == index.Hash(q) }) {
				s.score += int64((r.Package + r.Byte*float64(p.Size)) * 1e9)
				overlap++
				continue
			}
			s.score -= int64(r.Extra * 1e9)
			p.Base = false
			s.Extra = append(s.Extra, p)
		}
		for _, p := range env.Packages {
			if !slices.ContainsFunc(e.Packages, func(q ore.Package) bool { return index.Hash(p) == index.Hash(q) }) {
				s.Missing = append(s.Missing, p)
			}
		}
		if asks && (overlap > 0 || s.Exact) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(x, y scored) int {
		switch {
		case x.Exact != y.Exact:
			if x.Exact {
				return -1
			}
			return 1
		case len(x.Ran) != len(y.Ran):
			return len(y.Ran) - len(x.Ran)
		case x.score != y.score:
			return int(min(1, max64(-1, y.score-x.score)))
		default:
			return y.at - x.at
		}
	})
	out := []Candidate{}
	for _, s := range all[:min(max, len(all))] {
		out = append(out, s.Candidate)
	}
	return out
}

func max64(a, b int64) int64 { return max(a, b) }

// sketch keeps of candidates what naiveCandidates gives.
func sketch(all []Candidate) []Candidate {
	out := []Candidate{}
	for _, c := range all {
		s := Candidate{Exact: c.Exact, Missing: c.Missing, Extra: slices.Clone(c.Extra), Ran: c.Ran}
		s.Key = c.Key
		slices.SortFunc(s.Extra, func(a, b ore.Package) int { return slices.Compare([]byte(a.Name+a.Version), []byte(b.Name+b.Version)) })
		out = append(out, s)
	}
	return out
}

func drawEnvironment(t *rapid.T, label string) ore.Environment {
	var packages []ore.Package
	for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 25), 1, 20, rapid.ID[int]).Draw(t, label) {
		packages = append(packages, pkg(n, rapid.IntRange(0, 1).Draw(t, "version")))
	}
	e := environment(packages)
	if rapid.IntRange(0, 9).Draw(t, "suite") == 0 {
		e.Base.Suite = "trixie"
	}
	if rapid.IntRange(0, 3).Draw(t, "files") == 0 {
		e.Files = []ore.LockedFile{{Path: "/etc/motd", Mode: 0o100644, Digest: ore.DigestOf([]byte("hello"))}}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "steps") {
		e.Steps = append(e.Steps, ore.Step{Name: fmt.Sprint("s", i), Run: rapid.SampledFrom([]string{"true", "id"}).Draw(t, "run")})
	}
	return e
}

// TestCandidatesAreTheNaiveOnes compares with the definition, over images that
// come and go, and over index files that are written in between.
func TestCandidatesAreTheNaiveOnes(t *testing.T) {
	c, ctx := open(t, t.TempDir()), context.Background()
	rapid.Check(t, func(rt *rapid.T) {
		err := c.write(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM images`)
			return err
		})
		if err != nil {
			rt.Fatal(err)
		}
		var listed []ore.Environment
		for range rapid.IntRange(1, 3).Draw(rt, "rounds") {
			var fresh []ore.Environment
			for range rapid.IntRange(1, 8).Draw(rt, "images") {
				fresh = append(fresh, drawEnvironment(rt, "listed"))
			}
			fill(t, c, fresh)
			for _, e := range fresh { // one that comes again stands at the end
				listed = slices.DeleteFunc(listed, func(o ore.Environment) bool { return o.Key() == e.Key() })
				listed = append(listed, e)
			}
			if rapid.Bool().Draw(rt, "index") {
				if err := c.writeIndex(ctx); err != nil {
					rt.Fatal(err)
				}
			}
			if rapid.Bool().Draw(rt, "drop") {
				gone := rapid.IntRange(0, len(listed)-1).Draw(rt, "gone")
				if err := c.write(ctx, func(tx *sql.Tx) error { return drop(ctx, tx, listed[gone].Key()) }); err != nil {
					rt.Fatal(err)
				}
				listed = slices.Delete(listed, gone, gone+1)
			}
			env := drawEnvironment(rt, "asked")
			if rapid.Bool().Draw(rt, "known") && len(listed) > 0 {
				env = rapid.SampledFrom(listed).Draw(rt, "asked")
			}
			got, err := c.Candidates(ctx, env, 4)
			if err != nil {
				rt.Fatal(err)
			}
			if d := cmp.Diff(naiveCandidates(c.config.Rank, listed, env, 4), sketch(got)); d != "" {
				rt.Fatalf("(-naive +got)\n%s", d)
			}
		}
	})
}

// TestCandidatesSeesWhatAnotherProcessRegistered uses two caches on one folder.
func TestCandidatesSeesWhatAnotherProcessRegistered(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	a, b := open(t, dir), open(t, dir)
	env := environment([]ore.Package{pkg(1, 0), pkg(200, 0)})
	if got, err := a.Candidates(ctx, env, 3); err != nil || len(got) != 0 {
		t.Fatalf("got %v, %v", got, err)
	}
	more := environment([]ore.Package{pkg(1, 0), pkg(200, 0), pkg(300, 1)})
	fill(t, b, []ore.Environment{environment([]ore.Package{pkg(1, 0)}), more})
	if err := b.writeIndex(ctx); err != nil {
		t.Fatal(err)
	}
	got, err := a.Candidates(ctx, env, 3)
	if err != nil || len(got) != 2 {
		t.Fatalf("got %v, %v", got, err)
	}
	if !got[0].Superset() || got[0].Key != more.Key() || got[1].Superset() || len(got[1].Missing) != 1 {
		t.Errorf("got %+v", got)
	}
}

// TestCloseWaitsForTheIndexToBeMapped looks for the goroutine that maps it, once a cache
// is closed that has just opened it.
func TestCloseWaitsForTheIndexToBeMapped(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	c := open(t, dir)
	fill(t, c, world(1, 100, 100))
	if err := c.writeIndex(ctx); err != nil {
		t.Fatal(err)
	}
	k, err := c.refresh(ctx)
	if err != nil || k.large == nil {
		t.Fatalf("no index: %v", err)
	}
	stacks := make([]byte, 1<<20)
	for range 100 { // one that is not waited for may have ended by chance
		c, err := Open(ctx, dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.openIndex(k.indexed); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if s := string(stacks[:runtime.Stack(stacks, true)]); strings.Contains(s, "cache/index.") {
			t.Fatalf("the index is still at work:\n%s", s)
		}
	}
}

// world draws images as they are in life: a base that all share and that is
// updated now and then, and groups of packages that come together.
func world(seed uint64, images, size int) []ore.Environment {
	r := rand.New(rand.NewPCG(seed, 1))
	var all []ore.Environment
	for i := range images {
		has := map[int]ore.Package{}
		updates := i * 4 / images
		for n := range 120 {
			has[n] = pkg(n, 0)
			if n < 12*updates {
				has[n] = pkg(n, updates)
			}
		}
		for len(has) < size {
			group := 1000 + int(r.ExpFloat64()*400)*10
			for j := range 2 + r.IntN(9) {
				has[group+j] = pkg(group+j, 0)
			}
		}
		var packages []ore.Package
		for _, p := range has {
			packages = append(packages, p)
		}
		all = append(all, environment(packages, strconv.Itoa(i)))
	}
	return all
}

// asks are environments near those of world: another combination of what is there.
func asks(seed uint64, world []ore.Environment) func() ore.Environment {
	r := rand.New(rand.NewPCG(seed, 2))
	return func() ore.Environment {
		a, b := world[r.IntN(len(world))], world[r.IntN(len(world))]
		return environment(append(slices.Clone(a.Packages[:280]), b.Packages[len(b.Packages)-20:]...), strconv.Itoa(r.Int()))
	}
}

// cold asks for the environment that it reads. It makes none itself: what it would
// leave to the collector by that is no part of the question.
func cold(dir string) {
	var env ore.Environment
	if err := json.NewDecoder(os.Stdin).Decode(&env); err != nil {
		fmt.Println(err)
		return
	}
	begun, busy := time.Now(), processor()
	c, err := Open(context.Background(), dir)
	if err == nil {
		defer c.Close()
		_, err = c.Candidates(context.Background(), env, 5)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(time.Since(begun).Nanoseconds(), (processor() - busy).Nanoseconds())
}

// processor returns the processor time of this process. On a machine that others
// use too it says more than the clock.
func processor() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCandidates asks among 10,000 images of 300 packages, warm and in
// processes that have just started.
func BenchmarkCandidates(b *testing.B) {
	dir, ctx := b.TempDir(), context.Background()
	c, err := Open(ctx, dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	all := world(1, 10_000, 300)
	fill(b, c, all)
	begun := time.Now()
	if err := c.writeIndex(ctx); err != nil {
		b.Fatal(err)
	}
	b.Logf("index written in %v", time.Since(begun))
	fill(b, c, world(3, 40, 300)) // and some that came since
	// What the test made the images of is no part of the cache, nor are the questions
	// that wait: were they kept as they are, the collector would go through them
	// during the others, and that would be the slowest hundredth.
	asked := make([][]byte, 1000)
	for i, next := 0, asks(4, all); i < len(asked); i++ {
		text, err := json.Marshal(next())
		if err != nil {
			b.Fatal(err)
		}
		asked[i] = text
	}
	all = nil
	runtime.GC()
	b.Run("warm", func(b *testing.B) {
		var times, busy []time.Duration
		for b.Loop() {
			var env ore.Environment
			if err := json.Unmarshal(asked[len(times)%len(asked)], &env); err != nil {
				b.Fatal(err)
			}
			begun, before := time.Now(), processor()
			if got, err := c.Candidates(ctx, env, 5); err != nil || len(got) != 5 {
				b.Fatal(len(got), err)
			}
			times, busy = append(times, time.Since(begun)), append(busy, processor()-before)
		}
		report(b, times, "")
		report(b, busy, "cpu-")
	})
	b.Run("cold", func(b *testing.B) {
		var times, busy []time.Duration
		for b.Loop() {
			cmd := child("cold", dir)
			cmd.Stdin = bytes.NewReader(asked[len(times)%len(asked)])
			out, err := cmd.Output()
			if err != nil {
				b.Fatal(err, string(out))
			}
			var wall, used int64
			if _, err := fmt.Sscan(string(out), &wall, &used); err != nil {
				b.Fatal(string(out))
			}
			times, busy = append(times, time.Duration(wall)), append(busy, time.Duration(used))
		}
		report(b, times, "")
		report(b, busy, "cpu-")
	})
}

func report(b *testing.B, times []time.Duration, what string) {
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), what+"p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), what+"p99-us")
}
