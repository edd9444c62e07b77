//go:build system

package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A small run of the old figures: what each machine fetches for itself crosses the
// link as often as there are machines, what comes by the chain once; the same
// command has nothing left to do.
func TestFigures(t *testing.T) {
	p := someone(t)
	dir := filepath.Join(p.results(t), "figures")
	args := []string{"bench", "figures", "-p", "hello", "--link", "1gbit", "-o", dir}
	p.must(t, "build", "-q", "-p", "hello") // each call has a deadline of its own
	p.must(t, "install", "image", "-q")
	for _, n := range []string{"1", "2"} {
		for _, arm := range []string{"direct", "chain"} { // each goes on with the rows of the one before
			p.must(t, append(slices.Clone(args), "--machines", n, "--arms", arm)...)
		}
	}
	f, err := os.Open(filepath.Join(dir, "rows.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	crossed := map[string]int64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r struct {
			Arm      string
			Machines int64
			Crossed  int64
			Whole    float64
			Stages   map[string]float64
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Arm == "" {
			continue // the first line
		}
		if r.Whole <= 0 || r.Stages["base"] <= 0 || r.Stages["restart"] <= 0 {
			t.Errorf("no time was measured: %s", lines.Text())
		}
		crossed[r.Arm] += r.Crossed * 10 / r.Machines
	}
	if one := crossed["direct"] / 20; one == 0 || crossed["direct"] != 20*one || crossed["chain"] != 15*one {
		t.Errorf("tenths of bytes over the link for each machine: %v", crossed)
	}
	for _, name := range []string{"figure4.svg", "figure5.svg"} {
		if text := read(t, dir, name); !strings.Contains(text, "base: ") || !strings.HasSuffix(text, "</svg>\n") {
			t.Errorf("%s: %.200s", name, text)
		}
	}
	if text := read(t, dir, "figures.md"); !strings.Contains(text, "172 to 173") {
		t.Errorf("no old numbers: %s", text)
	}
	if o := p.must(t, append(args, "--machines", "1,2", "--arms", "direct,chain")...); !strings.Contains(o.err, "4 of 4 measurements are there") {
		t.Errorf("measured again: %v", o)
	}
}
