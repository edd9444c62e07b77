//go:build system

package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ore/node/agent"
	"ore/testbed"
)

// allHits puts the tables of all ranks together.
func allHits(t *testing.T, results string, ranks int) []string {
	t.Helper()
	var together strings.Builder
	for rank := range ranks {
		together.WriteString(read(t, only(t, results), strconv.Itoa(rank), "hits.tsv"))
	}
	return hits(together.String())
}

// A BLAST search on four hosts with two machines each finds what it finds on
// one host; and when ore is killed in the middle of another, nothing of it is
// left on any host when its lease is over.
func TestBlastOnFourHosts(t *testing.T) {
	p := someone(t)
	file, err := os.ReadFile("../../examples/blast/job.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p.file(t, "blast.yaml", string(file))
	here := p.results(t)
	p.must(t, "run", "-q", "-f", "blast.yaml", "--results", here)
	want := allHits(t, here, 4)
	if len(want) < 100 {
		t.Fatalf("only %d hits to compare", len(want))
	}
	f := lend(t, p, 4)
	before := f.sent(t, testbed.Head)
	there := p.results(t)
	f.run(t, "-f", filepath.Join(p.dir, "blast.yaml"), "-n", "8", "--results", there)
	if got := allHits(t, there, 8); !slices.Equal(got, want) {
		t.Errorf("four hosts found %d hits, one host %d", len(got), len(want))
	}
	stored := f.stored(t, "h1")
	if out := f.sent(t, testbed.Head) - before; out > stored*12/10 {
		t.Errorf("%d bytes left the head, for %d that each of four hosts got", out, stored)
	}
	if all := came(result(t, there)); len(all) != 4 {
		t.Errorf("not to each of four hosts: %v", all)
	}

	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := f.on(ctx, testbed.Head, append(append([]string{"run", "-q", "-n", "8", "--results", p.results(t)}, f.flags...), "--", "sleep", "1000")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for on := map[string][]string{}; len(on) < 4; on = f.machines(t) { // the deadline ends this
		if ctx.Err() != nil {
			t.Fatal("the machines do not start")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	over := time.After(agent.LeaseTime + endOfMachines)
	for {
		left, err := filepath.Glob(filepath.Join(f.dirs, "*", "lives", "*", "jobs", "*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		select {
		case <-over:
			t.Fatalf("%v and more after ore was killed there is %v", agent.LeaseTime, left)
		case <-time.After(100 * time.Millisecond):
		}
	}
	for host, a := range f.agents { // nobody calls them any more
		if err := a.Wait(); err != nil {
			t.Errorf("agent of %s: %v", host, err)
		}
	}
	clear(f.agents)
}

// endOfMachines is how long eight machines may take to end on a busy host.
const endOfMachines = 10 * time.Second

// A host whose cable is pulled is lost once its lease is over, for both sides.
func TestHostWithoutCable(t *testing.T) {
	p := someone(t)
	p.must(t, "build", "-q")
	p.must(t, "run", "-q", "--results", p.results(t), "--", "true")
	f := lend(t, p, 2)
	f.mishap(t, "sleep 40", func(host string) {
		if err := f.bed.Part(t.Context(), host); err != nil {
			t.Fatal(err)
		}
	})
}
