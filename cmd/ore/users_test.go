package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"ore"
)

// seed gives p what from has fetched and decoded, but nothing that was built.
func (p *person) seed(t *testing.T, from *person) {
	t.Helper()
	for _, dir := range []string{"cache/deb", "cache/install/packs"} {
		to := filepath.Join(p.home, dir)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-r", filepath.Join(from.home, dir), to).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v: %s", err, out)
		}
	}
	owner := strconv.Itoa(int(p.uid)) + ":" + strconv.Itoa(int(p.gid))
	if out, err := exec.Command("chown", "-R", owner, p.home).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v: %s", err, out)
	}
}

// Whoever runs ore gets the same: root, a user with subordinate ids, and one
// without. Each builds in a way of its own and runs with it.
func TestEveryUser(t *testing.T) {
	first := as(t, subIDs)
	want := first.build(t)
	for _, name := range []string{oneID, root} {
		t.Run(name, func(t *testing.T) {
			p := as(t, name)
			p.seed(t, first)
			results := p.results(t)
			o := p.must(t, "run", "-q", "-n", "2", "--results", results, "-o", "f", "--", "sh", "-c", "echo $ORE_RANK >f; chown daemon f; stat -c %U f")
			if got := sorted(o.out); len(got) != 2 || got[0] != "0: daemon" || got[1] != "1: daemon" {
				t.Errorf("%v", o)
			}
			if got := read(t, only(t, results), "1", "f"); got != "1\n" {
				t.Errorf("output of rank 1: %q", got)
			}
			got := p.build(t)
			if got.Key != want.Key || got.Tree != want.Tree {
				t.Errorf("key %s, tree %s; for %s %s, %s", got.Key.Short(), got.Tree.Short(), subIDs, want.Key.Short(), want.Tree.Short())
			}
			if r := result(t, results); r.Kind != ore.Finished {
				t.Errorf("result %+v", r)
			}
		})
	}
}
