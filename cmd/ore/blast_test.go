package main

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ore"
)

// hits reads a table of BLAST in its outfmt 6 as lines without order.
func hits(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(lines)
	return lines
}

// The example gives the answer that the same program gives on this host, run
// by itself on the same sequences.
func TestBlastExample(t *testing.T) {
	blastp, err := exec.LookPath("blastp")
	if err != nil {
		t.Skip("blastp, to compare with, is not there: install the package ncbi-blast+")
	}
	const sequences = "/usr/share/doc/plast-example/db"
	if _, err := os.Stat(sequences); err != nil {
		t.Skip("the sequences are not there: install the package plast-example")
	}
	p := someone(t)
	file, err := os.ReadFile("../../examples/blast/job.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p.file(t, "blast.yaml", string(file))
	results := p.results(t)
	o := p.must(t, "run", "-f", "blast.yaml", "--results", results)
	if strings.Count(o.out, "queries,") != 4 {
		t.Errorf("not a line of each machine: %v", o)
	}
	r := result(t, results)
	if r.Kind != ore.Finished || len(r.Ranks) != 4 {
		t.Fatalf("result %+v", r)
	}
	var together strings.Builder
	for rank := range 4 {
		together.WriteString(read(t, only(t, results), strconv.Itoa(rank), "hits.tsv"))
	}
	got := hits(together.String())

	dir := t.TempDir()
	script := `zcat ` + sequences + `/tursiops.fa.gz | awk '/^>/ { n++ } n <= 2000' >dolphin.fa
zcat ` + sequences + `/query.fa.gz >query.fa
makeblastdb -in dolphin.fa -dbtype prot -out dolphin >/dev/null
` + blastp + ` -db dolphin -query query.fa -evalue 1e-20 -outfmt 6 >hits.tsv`
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("on the host: %v: %s", err, out)
	}
	want := hits(read(t, dir, "hits.tsv"))
	if len(want) < 100 {
		t.Fatalf("only %d hits to compare", len(want))
	}
	if !slices.Equal(got, want) {
		t.Errorf("four machines found %d hits, one program here %d", len(got), len(want))
	}
}
