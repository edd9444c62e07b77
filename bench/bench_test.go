package main

import (
	"archive/tar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestStatistics(t *testing.T) {
	if m := median([]float64{9, 1, 5}); m != 5 {
		t.Errorf("median of three is %v", m)
	}
	if m := median([]float64{4, 1, 2, 9}); m != 3 {
		t.Errorf("median of four is %v", m)
	}
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	if v := p95(hundred); v != 95 {
		t.Errorf("p95 of 1 to 100 is %v", v)
	}
	if v := p95([]float64{7, 3}); v != 7 {
		t.Errorf("p95 of two is %v, not the larger", v)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		summary      string
		row          row
		ours, peer   []float64
		value        float64
		met, reached bool
	}{
		{"faster, met", row{kind: faster, peer: "p", atLeast: 3, towards: 4}, []float64{5, 4, 6}, []float64{15, 14, 20}, 3, true, false},
		{"faster, missed", row{kind: faster, peer: "p", atLeast: 3, towards: 4}, []float64{10}, []float64{15}, 1.5, false, false},
		{"share, reached", row{kind: share, peer: "p", atLeast: 0.4, towards: 0.25}, []float64{1}, []float64{4}, 0.25, true, true},
		{"share, missed", row{kind: share, peer: "p", atLeast: 0.4, towards: 0.25}, []float64{2}, []float64{4}, 0.5, false, false},
		{"floor, met", row{kind: floor, atLeast: 1.4, towards: 1.6, statistic: median}, []float64{1.5, 1.3, 1.9}, nil, 1.5, true, false},
		{"limit, of the statistic", row{kind: limit, atLeast: 50, towards: 20, statistic: p95}, []float64{10, 40, 30}, nil, 40, true, false},
	} {
		v, err := c.row.judge(c.ours, c.peer)
		if err != nil || v.value != c.value || v.met != c.met || v.reached != c.reached {
			t.Errorf("%s: %+v, %v", c.summary, v, err)
		}
	}
	if _, err := (row{name: "x", peer: "p"}).judge([]float64{1}, nil); err == nil {
		t.Error("a row without its peer was judged")
	}
}

// TestRowsHaveContestants: every name that a row gives is measured by somebody.
func TestRowsHaveContestants(t *testing.T) {
	for _, r := range rows() {
		want := 1
		if r.peer != "" {
			want = 2
		}
		if got := contestants([]row{r}); len(got) != want {
			t.Errorf("row %s has %d contestants, not %d", r.name, len(got), want)
		}
	}
}

func TestBuildStages(t *testing.T) {
	got := buildStages("fetch        0.44 s  0 of 126 packages\nseal         1.25 s  layer 1\nseal         0.25 s  layer 2\nore: 3 s lost\n")
	if len(got) != 2 || got["fetch"] != 0.44 || got["seal"] != 1.5 {
		t.Errorf("%v", got)
	}
}

func TestBenchMetrics(t *testing.T) {
	got := benchMetrics("goos: linux\nBenchmarkCandidates/cold-2 \t 300\t 1200 ns/op\t 90.5 cpu-p99-us\t 1400 p99-us\nPASS\n")
	if len(got) != 3 || got["p99-us"] != 1400 || got["cpu-p99-us"] != 90.5 {
		t.Errorf("%v", got)
	}
}

func TestInstalled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "t.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	status := "Package: b\nStatus: install ok installed\nVersion: 1:2-3\n\nPackage: a\nVersion: 1\nDescription: x\n Version: none\n"
	w := tar.NewWriter(f)
	if err := w.WriteHeader(&tar.Header{Name: "./var/lib/dpkg/status", Mode: 0o644, Size: int64(len(status))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(status)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := installed(file)
	if err != nil || !slices.Equal(got, []string{"a=1", "b=1:2-3"}) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestSummary: the table says what was missed, and the raw rows stay.
func TestSummary(t *testing.T) {
	r, err := newRecord(t.TempDir(), facts{})
	if err != nil {
		t.Fatal(err)
	}
	one := row{name: "run1", title: "one", ours: oreOne, peer: stockOne, kind: share, atLeast: 0.4, towards: 0.25}
	for _, s := range []sample{{Contestant: oreOne, Value: 1, Unit: "s", Stages: map[string]float64{"boot": 0.5}}, {Contestant: stockOne, Value: 2, Unit: "s"}} {
		if err := r.add(s); err != nil {
			t.Fatal(err)
		}
	}
	var text strings.Builder
	if err := r.summarize(&text, []row{one}); err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| one | 1.000 s | 2.000 s | 0.50 x | <= 0.40 x | 0.25 x | missed |", "boot 500.0"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in:\n%s", want, &text)
		}
	}
	raw, err := os.ReadFile(r.base + ".jsonl")
	if err != nil || strings.Count(string(raw), "\n") != 3 {
		t.Errorf("raw rows: %s, %v", raw, err)
	}
}
