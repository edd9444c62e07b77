package install

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/image"
	"ore/install/sandbox"
)

// ran builds the steps over the base of hello and returns which of them ran.
func ran(t *testing.T, b *Builder, env ore.Environment, steps ...ore.Step) (image.Manifest, []string, error) {
	t.Helper()
	env.Steps = steps
	var names []string
	b.Watch = func(e ore.Event) {
		if e.Stage == "steps" && strings.HasPrefix(e.Text, "run ") {
			names = append(names, strings.TrimPrefix(e.Text, "run "))
		}
	}
	m, err := b.Build(t.Context(), Request{Environment: env})
	return m, names, err
}

// fresh returns a builder that keeps no steps yet.
func fresh(t *testing.T) (*Builder, ore.Environment) {
	t.Helper()
	env, debs := lock(t, "bookworm", "hello")
	b := builder(t, testDir(t), debs)
	forgetSteps(t, b)
	return b, env
}

// forgetSteps takes away all that steps did before.
func forgetSteps(t *testing.T, b *Builder) {
	t.Helper()
	kept, err := filepath.Glob(filepath.Join(b.Dir, "trees", "*", "step-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range kept {
		if err := sandbox.Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}

func step(name, needs, run string) ore.Step {
	return ore.Step{Name: name, Needs: strings.Fields(needs), Run: "echo run " + name + "\n" + run}
}

// A step that failed is tried again without those that it needs; a changed one
// repeats itself and what needs it; what comes out is what comes out of a build
// from nothing.
func TestStepsAreKept(t *testing.T) {
	b, env := fresh(t)
	a := step("a", "", "mkdir /opt/a; echo a > /opt/a/a; rm /usr/bin/hello")
	side := step("side", "", "mkdir /opt/side; chmod 700 /opt/side; echo s > /opt/side/s")
	last := step("last", "a side", "cp /opt/a/a /opt/side/copy; test ! -e /usr/bin/hello")
	_, names, err := ran(t, b, env, a, side, step("leaf", "a", "exit 3"), last)
	if err == nil || !slices.Equal(names, []string{"a", "side", "leaf", "leaf"}) {
		t.Fatalf("a step that fails: ran %v, %v", names, err)
	}
	good := step("leaf", "a", "echo good > /opt/a/leaf")
	first, names, err := ran(t, b, env, a, side, good, last)
	if err != nil || !slices.Equal(names, []string{"leaf", "last"}) {
		t.Fatalf("the step repaired: ran %v, %v", names, err)
	}
	changed := step("leaf", "a", "echo changed > /opt/a/leaf")
	second, names, err := ran(t, b, env, a, side, changed, last)
	if err != nil || !slices.Equal(names, []string{"leaf"}) {
		t.Fatalf("a changed leaf: ran %v, %v", names, err)
	}
	if first.Tree == second.Tree {
		t.Error("another step made the same tree")
	}
	forgetSteps(t, b)
	again, names, err := ran(t, b, env, a, side, changed, last)
	if err != nil || len(names) != 4 {
		t.Fatalf("from nothing: ran %v, %v", names, err)
	}
	if again.Digest() != second.Digest() {
		t.Errorf("from nothing: %s, with what was kept %s", again.Tree.Short(), second.Tree.Short())
	}
	tree := readImage(t, b.Store, again)
	if n := tree.nodes["opt/side"]; n == nil || n.Mode.Perm() != 0o700 || string(tree.content["opt/side/copy"]) != "a\n" || tree.nodes["usr/bin/hello"] != nil {
		t.Errorf("the tree lacks what the steps did: %v %q", n, tree.content["opt/side/copy"])
	}
}

// Steps that need not each other and yet change the same file, or use what the
// other made, run one after the other as the lock has them.
func TestStepsInEachOthersWay(t *testing.T) {
	b, env := fresh(t)
	one := step("one", "", "echo one >> /etc/list; mkdir /opt/dir")
	two := step("two", "", "echo two >> /etc/list")
	three := step("three", "", "echo three > /opt/dir/three")
	m, names, err := ran(t, b, env, one, two, three)
	if err != nil || !slices.Equal(names, []string{"one", "two", "two", "three", "three"}) {
		t.Fatalf("ran %v, %v", names, err)
	}
	if got := string(readImage(t, b.Store, m).content["etc/list"]); got != "one\ntwo\n" {
		t.Errorf("the list has %q", got)
	}
	again, names, err := ran(t, b, env, one, two, three)
	// What failed alone is not kept, so it is tried again.
	if err != nil || again.Digest() != m.Digest() || !slices.Equal(names, []string{"three"}) {
		t.Errorf("again: ran %v, %v", names, err)
	}
	if _, err := os.Stat(filepath.Join(b.Dir, "work")); err != nil {
		t.Error(err)
	}
}

// A step whose kept result was taken away runs anew, and with it what saw the former
// one: two runs of one step may differ, and the steps of one tree are to have seen each
// other. What did not see it is as it was.
func TestStepsSeeTheRunThatIsThere(t *testing.T) {
	b, env := fresh(t)
	a := step("a", "", "cat /proc/sys/kernel/random/uuid > /opt/a")
	c := step("c", "a", "cp /opt/a /opt/c")
	d := step("d", "", "cat /proc/sys/kernel/random/uuid > /opt/d")
	build := func(want ...string) map[string]string {
		t.Helper()
		m, names, err := ran(t, b, env, a, c, d)
		if err != nil || !slices.Equal(names, want) {
			t.Fatalf("ran %v, want %v: %v", names, want, err)
		}
		got := map[string]string{}
		for _, name := range []string{"a", "c", "d"} {
			got[name] = string(readImage(t, b.Store, m).content["opt/"+name])
		}
		if got["a"] == "" || got["a"] != got["c"] {
			t.Errorf("a has %q, c %q", got["a"], got["c"])
		}
		return got
	}
	have := func(want ...string) {
		t.Helper()
		all := env
		all.Steps = []ore.Step{a, c, d}
		if have, err := b.Have(all); err != nil || !slices.Equal(have.Steps, want) {
			t.Errorf("done are %v, want %v: %v", have.Steps, want, err)
		}
	}
	have()
	first := build("a", "c", "d")
	have("a", "c", "d")
	build()
	found, err := filepath.Glob(filepath.Join(b.Dir, "trees", "*", "step-*", "opt", "a"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := sandbox.Remove(t.Context(), filepath.Dir(filepath.Dir(found[0]))); err != nil {
		t.Fatal(err)
	}
	have("d")
	second := build("a", "c")
	if second["a"] == first["a"] || second["d"] != first["d"] {
		t.Errorf("first %v, then %v", first, second)
	}
	have("a", "c", "d")
	build()
}
