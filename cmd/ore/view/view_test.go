package view

import (
	"bytes"
	"slices"
	"testing"
	"unicode/utf8"

	"ore"
)

// Where lines stay, it is told that the mirror did not answer.
func TestIndexesThatAreNotNew(t *testing.T) {
	var out, err bytes.Buffer
	v := New(Config{Out: &out, Err: &err})
	v.Watch(ore.Event{Stage: "index", Text: "asking http://mirror.example.org"})
	v.Watch(ore.Event{Stage: "index", Text: "no route: using the indexes proved before"})
	v.Close()
	if got, want := err.String(), "ore: no route: using the indexes proved before\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}

func TestFit(t *testing.T) {
	lines := func() []string {
		return []string{"✓ resolve   0.01 s", "· image     1.00 s  ncbi-blast+", "  m0   ░░░░"}
	}
	for _, c := range []struct {
		rows, columns int
		want          []string
	}{
		{24, 80, lines()},
		{3, 80, lines()[1:]},
		{1, 80, []string{}},
		{0, 0, lines()}, // a terminal that does not know its size
		{4, 11, []string{"✓ resolve…", "· image  …", "  m0   ░░…"}},
	} {
		got := fit(lines(), c.rows, c.columns)
		if !slices.Equal(got, c.want) {
			t.Errorf("%d rows of %d: %q, want %q", c.rows, c.columns, got, c.want)
		}
		for _, l := range got {
			if c.columns > 0 && utf8.RuneCountInString(l) >= c.columns {
				t.Errorf("%q is as wide as %d columns", l, c.columns)
			}
		}
	}
}

// What went another way than was to be expected is said once, in a line of its
// own above what is drawn, and not where only the job's output is wanted.
func TestNotes(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		var out, err bytes.Buffer
		v := New(Config{Out: &out, Err: &err, Quiet: quiet})
		v.drawn = 2
		v.Watch(ore.Event{Stage: "note", Text: "image x: damaged: it is made anew"})
		v.Watch(ore.Event{Stage: "note", Machine: "m0", Text: "no output"})
		v.Watch(ore.Event{Stage: "retry", Machine: "m1", Text: "lost"})
		v.drawn = 0
		v.Close()
		want := "\x1b[2A\x1b[Jore: image x: damaged: it is made anew\nore: m0: no output\nore: m1: lost: trying again\n"
		if quiet {
			want = ""
		}
		if err.String() != want || out.Len() > 0 {
			t.Errorf("quiet %v: said %q, want %q; output %q", quiet, err.String(), want, out.String())
		}
	}
}
