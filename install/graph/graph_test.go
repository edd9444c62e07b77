package graph

import (
	"fmt"
	"slices"
	"testing"

	"ore"
)

func graph(t *testing.T, steps ...ore.Step) *Graph {
	t.Helper()
	g, err := New(ore.Environment{Arch: "amd64", Steps: steps})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestKeys(t *testing.T) {
	a, b := ore.Step{Name: "a", Run: "1"}, ore.Step{Name: "b", Run: "2"}
	c := ore.Step{Name: "c", Needs: []string{"a"}, Run: "3"}
	d := ore.Step{Name: "d", Needs: []string{"c", "b"}, Run: "4"}
	g := graph(t, a, b, c, d)
	if got := g.Seen(3); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("d sees %v", got)
	}
	if !g.Alone(1) || !g.Alone(2) || g.Alone(3) || g.Alone(0) {
		t.Error("who sees all before")
	}
	other := graph(t, b, a, c, d)
	if g.Key(2) != other.Key(2) || g.Key(0) != other.Key(1) {
		t.Error("keys depend on steps that are not needed")
	}
	renamed := graph(t, ore.Step{Name: "x", Run: "1"}, ore.Step{Name: "c", Needs: []string{"x"}, Run: "3"})
	if g.Key(0) != renamed.Key(0) || g.Key(2) != renamed.Key(1) {
		t.Error("keys depend on names")
	}
	a.Run = "5"
	changed := graph(t, a, b, c, d)
	if g.Key(0) == changed.Key(0) || g.Key(2) == changed.Key(2) || g.Key(3) == changed.Key(3) || g.Key(1) != changed.Key(1) {
		t.Error("a changed step changes its own key and those of its descendants")
	}
	b.Network = true
	if g.Key(1) == graph(t, a, b).Key(1) {
		t.Error("a step with network has the key of one without")
	}
	below, err := New(ore.Environment{Arch: "amd64", Manual: []string{"hello"}, Steps: []ore.Step{a}})
	if err != nil || below.Key(0) == changed.Key(0) {
		t.Errorf("keys do not depend on what is below: %v", err)
	}
}

func TestSeeAll(t *testing.T) {
	g := graph(t, ore.Step{Name: "a", Run: "1"}, ore.Step{Name: "b", Run: "2"}, ore.Step{Name: "c", Needs: []string{"b"}, Run: "3"})
	b, c := g.Key(1), g.Key(2)
	g.SeeAll(1)
	if g.Key(1) == b || g.Key(2) == c || !slices.Equal(g.Seen(2), []int{0, 1}) {
		t.Errorf("c sees %v", g.Seen(2))
	}
}

func TestOrder(t *testing.T) {
	if _, err := New(ore.Environment{Steps: []ore.Step{{Name: "a", Needs: []string{"b"}}, {Name: "b"}}}); err == nil {
		t.Error("a step before what it needs")
	}
}

// What is there of an earlier build is found under the keys that it left: of a step that
// then had to see all before it, and of those that need it.
func TestDone(t *testing.T) {
	env := ore.Environment{Arch: "amd64", Steps: []ore.Step{
		{Name: "a", Run: "1"}, {Name: "b", Run: "2"}, {Name: "c", Run: "3", Needs: []string{"b"}}, {Name: "d", Run: "4"},
	}}
	g := graph(t, env.Steps...)
	kept := map[Key]bool{g.Key(0): true}
	expect := func(names ...string) {
		t.Helper()
		got, err := Done(env, func(k Key, over []string) string {
			if kept[k] {
				return fmt.Sprint(k, over)
			}
			return ""
		})
		if err != nil || !slices.Equal(got, names) {
			t.Errorf("done are %v, want %v: %v", got, names, err)
		}
	}
	expect("a")
	kept[g.Key(1)] = true // in a's way, as it came out
	g.SeeAll(1)
	kept[g.Key(1)], kept[g.Key(2)] = true, true
	expect("a", "b", "c")
	env.Steps[0].Run = "changed"
	expect("b") // alone; what had seen a, and what needs that, has other keys now
	if _, err := Done(ore.Environment{Steps: []ore.Step{{Name: "a", Needs: []string{"b"}}}}, nil); err == nil {
		t.Error("a step before what it needs")
	}
}

// What sees a step whose result is gone is not done, whatever is left of it.
func TestNotDone(t *testing.T) {
	env := ore.Environment{Arch: "amd64", Steps: []ore.Step{
		{Name: "a", Run: "1"}, {Name: "b", Run: "2", Needs: []string{"a"}}, {Name: "c", Run: "3", Needs: []string{"b"}},
	}}
	g := graph(t, env.Steps...)
	got, err := Done(env, func(k Key, over []string) string {
		if k == g.Key(1) {
			return ""
		}
		return string(k)
	})
	if err != nil || !slices.Equal(got, []string{"a"}) {
		t.Errorf("without b done are %v, %v", got, err)
	}
}
