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
