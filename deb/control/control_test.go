package control

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParagraphs(t *testing.T) {
	tests := []struct {
		summary string
		text    string
		want    []Paragraph
		line    int // of the error, 0 for none
	}{
		{summary: "nothing", text: "\n \n\n"},
		{summary: "two paragraphs, blanks between them and at the ends",
			text: "\n\nA: 1\nB:2\n\n \t\nA: 3\n\n",
			want: []Paragraph{{{"A", "1"}, {"B", "2"}}, {{"A", "3"}}}},
		{summary: "continued lines keep their line feeds",
			text: "D: first\n second\n\tthird\nE: x",
			want: []Paragraph{{{"D", "first\n second\n\tthird"}, {"E", "x"}}}},
		{summary: "comments between fields and within a value",
			text: "# one\nA: 1\n# two\nB:\n b\n# three\n c\n",
			want: []Paragraph{{{"A", "1\n# two"}, {"B", "b\n# three\n c"}}}},
		{summary: "a line of blanks ends a paragraph", text: "A: 1\n  \nB: 2\n",
			want: []Paragraph{{{"A", "1"}}, {{"B", "2"}}}},
		{summary: "carriage returns", text: "A: 1\r\n\r\nB: 2\r\n",
			want: []Paragraph{{{"A", "1"}}, {{"B", "2"}}}},
		{summary: "an empty value", text: "A:\nB: 2", want: []Paragraph{{{"A", ""}, {"B", "2"}}}},
		{summary: "no colon", text: "A: 1\n\nnonsense\n", want: []Paragraph{{{"A", "1"}}}, line: 3},
		{summary: "a continued line first", text: "\n x\n", line: 2},
		{summary: "a blank in the name", text: "A b: 1\n", line: 1},
		{summary: "no name", text: ": 1\n", line: 1},
	}
	for _, test := range tests {
		t.Run(test.summary, func(t *testing.T) {
			var got []Paragraph
			line := 0
			for p, err := range Paragraphs(test.text) {
				var syntax *SyntaxError
				if errors.As(err, &syntax) {
					line = syntax.Line
					break
				}
				got = append(got, slices.Clone(p))
			}
			if !reflect.DeepEqual(got, test.want) || line != test.line {
				t.Errorf("got %q, error in line %d; want %q, %d", got, line, test.want, test.line)
			}
		})
	}
}

func TestParagraphAccess(t *testing.T) {
	p, err := Parse("Package: x\nSigned-By:\n -----BEGIN\n .\n # no comment, it is indented\n abc\n# a comment\n def\nWords: a  b\n c\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Get("signed-BY"); got == "" {
		t.Error("the case of a field's name matters")
	}
	want := []string{"-----BEGIN", "", "# no comment, it is indented", "abc", "def"}
	if got := p.Lines("Signed-By"); !slices.Equal(got, want) {
		t.Errorf("lines: got %q, want %q", got, want)
	}
	if got := p.Words("Words"); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("words: got %q", got)
	}
	if got := p.Get("none"); got != "" {
		t.Errorf("a field that is not there has the value %q", got)
	}
}

func TestRelations(t *testing.T) {
	tests := []struct {
		field string
		want  []Alternatives
		bad   string
	}{
		{field: ""},
		{field: "a", want: []Alternatives{{{Name: "a"}}}},
		{field: "a (>= 1:2-3), b|c ( << 2 ) ,\n d:any (=1~) ,", want: []Alternatives{
			{{Name: "a", Op: AtLeast, Version: "1:2-3"}},
			{{Name: "b"}, {Name: "c", Op: Earlier, Version: "2"}},
			{{Name: "d", Arch: "any", Op: Exactly, Version: "1~"}}}},
		{field: "a (< 1), b (> 2), c (3)", want: []Alternatives{
			{{Name: "a", Op: AtMost, Version: "1"}}, {{Name: "b", Op: AtLeast, Version: "2"}}, {{Name: "c", Op: Exactly, Version: "3"}}}},
		{field: "a |", bad: "not a package name"},
		{field: "a b", bad: "not a package name"},
		{field: "a (>= 1", bad: "one version"},
		{field: "a (>= 1) x", bad: "one version"},
		{field: "a (~ 1)", want: []Alternatives{{{Name: "a", Op: Exactly, Version: "~ 1"}}}, bad: "not a version"},
		{field: "a (>>> 1)", bad: "operator"},
		{field: "a (>=)", bad: "not a version"},
		{field: "a:", bad: "not a package name"},
	}
	for _, test := range tests {
		got, err := Relations(test.field)
		if test.bad != "" {
			if err == nil || !strings.Contains(err.Error(), test.bad) {
				t.Errorf("%q: got %v, want an error with %q", test.field, err, test.bad)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: got %v, %v, want %v", test.field, got, err, test.want)
		}
	}
}

func TestAllows(t *testing.T) {
	for _, test := range []struct {
		relation, version string
		want              bool
	}{
		{"a", "0", true}, {"a (>= 1)", "1", true}, {"a (>= 1)", "1~", false}, {"a (<< 1)", "1~", true},
		{"a (<< 1)", "1", false}, {"a (<= 1)", "1", true}, {"a (= 1-1)", "1-1", true}, {"a (= 1-1)", "1-1+b1", false},
		{"a (>> 1)", "1-0", false}, {"a (>> 1)", "1-1", true}, {"a (>> 1)", "1:0", true},
	} {
		g, err := Relations(test.relation)
		if err != nil {
			t.Fatal(err)
		}
		if got := g[0][0].Allows(test.version); got != test.want {
			t.Errorf("%s allows %s: %v, want %v", test.relation, test.version, got, test.want)
		}
	}
}

// versions is in rising order; those on one line are equal.
var versions = [][]string{
	{"0~~"}, {"0~~a"}, {"0~"}, {"0", "0-0", "0:0", "00", "0:0-0"}, {"0a"}, {"0+"},
	{"1.0~rc1-1"}, {"1.0-1~bpo1"}, {"1.0-1", "1.0-01", "0:1.0-1"}, {"1.0-1+b1"}, {"1.0-1+deb12u1"}, {"1.0-1.1"}, {"1.0-2"},
	{"1.0-10"}, {"1.0+dfsg-1"}, {"1.0.1-1"}, {"1.2a"}, {"1.2a.1"}, {"1.2+"}, {"1.10"}, {"1.99999999999999999999"},
	{"1.100000000000000000000"}, {"2-1-1"}, {"2-1-2"}, {"20220311.1"}, {"1:0.1"}, {"2:0"}, {"10:0"},
}

func TestCompareTable(t *testing.T) {
	for i, row := range versions {
		for _, a := range row {
			for j, other := range versions {
				for _, b := range other {
					if got := sign(Compare(a, b)); got != sign(i-j) {
						t.Errorf("Compare(%q, %q) = %d, want %d", a, b, got, sign(i-j))
					}
				}
			}
		}
	}
}

// TestCompareAgainstDpkg compares random pairs, most of which differ little.
func TestCompareAgainstDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("dpkg is the judge of this test, and this host does not have it")
	}
	const pairs = 250
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range pairs {
		a := randomVersion(r)
		b := mutate(r, a)
		if CheckVersion(b) != nil {
			continue // dpkg has no opinion on what is no version
		}
		want := 0
		if exec.Command("dpkg", "--compare-versions", a, "lt", b).Run() == nil {
			want = -1
		} else if exec.Command("dpkg", "--compare-versions", a, "gt", b).Run() == nil {
			want = 1
		}
		if got := sign(Compare(a, b)); got != want {
			t.Errorf("Compare(%q, %q) = %d, dpkg says %d", a, b, got, want)
		}
		if Compare(a, b) != -Compare(b, a) && sign(Compare(a, b)) != -sign(Compare(b, a)) {
			t.Errorf("Compare(%q, %q) and its mirror do not agree", a, b)
		}
	}
}

func randomVersion(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(4) == 0 {
		b.WriteString([]string{"0:", "1:", "2:"}[r.IntN(3)])
	}
	part := func(n int) {
		b.WriteByte("0123456789"[r.IntN(10)])
		for range r.IntN(n) {
			b.WriteByte("001239.+~abZ"[r.IntN(12)])
		}
	}
	part(8)
	if r.IntN(2) == 0 {
		b.WriteByte('-')
		part(5)
	}
	return b.String()
}

// mutate changes a little of v, and leaves it a version.
func mutate(r *rand.Rand, v string) string {
	for {
		c := []byte(v)
		at := r.IntN(len(c))
		switch r.IntN(3) {
		case 0:
			c = slices.Insert(c, at, "0129~.+a"[r.IntN(8)])
		case 1:
			c[at] = "0129~.+a"[r.IntN(8)]
		default:
			c = slices.Delete(c, at, at+1)
		}
		s := string(c)
		if _, upstream, _ := split(s); CheckVersion(s) == nil && upstream != "" && isDigit(upstream[0]) {
			return s
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func TestCheckVersion(t *testing.T) {
	for _, v := range []string{"1", "1:1.0-1", "0", "1.0+dfsg-1~bpo12+1", "2a-1-1"} {
		if err := CheckVersion(v); err != nil {
			t.Errorf("%q: %v", v, err)
		}
	}
	for _, v := range []string{"", "a:1", "1-", "1 2", "1_2", "1:", "-1"} {
		if err := CheckVersion(v); err == nil {
			t.Errorf("%q is taken for a version", v)
		}
	}
}

func FuzzParagraphs(f *testing.F) {
	f.Add("A: 1\nB:\n 2\n # x\n\nC: 3\n")
	f.Add(" x")
	f.Add("A:\n#\n \n")
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		for p, err := range Paragraphs(text) {
			if err != nil {
				break
			}
			for _, field := range p {
				n += len(field.Name) + len(field.Value)
				p.Lines(field.Name)
			}
			if len(p) == 0 {
				t.Error("an empty paragraph")
			}
		}
		if n > len(text) {
			t.Errorf("fields of %d bytes out of a text of %d", n, len(text))
		}
	})
}

func FuzzRelations(f *testing.F) {
	f.Add("a (>= 1) | b:any, c")
	f.Fuzz(func(t *testing.T, field string) {
		groups, err := Relations(field)
		if err != nil {
			return
		}
		var parts []string
		for _, g := range groups {
			parts = append(parts, g.String())
		}
		again, err := Relations(strings.Join(parts, ", "))
		if err != nil || len(again) != len(groups) || len(groups) > 0 && !reflect.DeepEqual(again, groups) {
			t.Errorf("%q is read as %v, and that as %v (%v)", field, groups, again, err)
		}
	})
}

func FuzzCompare(f *testing.F) {
	f.Add("1:1.0-1", "1.0~rc1", "2")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if sign(Compare(a, b)) != -sign(Compare(b, a)) {
			t.Errorf("%q and %q: not antisymmetric", a, b)
		}
		if Compare(a, b) <= 0 && Compare(b, c) <= 0 && Compare(a, c) > 0 {
			t.Errorf("%q <= %q <= %q, but not the first <= the last", a, b, c)
		}
	})
}
