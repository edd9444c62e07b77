package resolve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/deb/index"
)

// universe makes a universe of sources, each written as lines
// "name version[; Field: value]...".
func universe(t testing.TB, sources ...string) *Universe {
	t.Helper()
	var list []Source
	for _, text := range sources {
		var b strings.Builder
		for line := range strings.Lines(text) {
			parts := strings.Split(strings.TrimSpace(line), ";")
			name, version, ok := strings.Cut(strings.TrimSpace(parts[0]), " ")
			if !ok {
				continue
			}
			fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: amd64\nFilename: p/%s\nSize: 1\nSHA256: %064d\n", name, version, name, 0)
			for _, f := range parts[1:] {
				b.WriteString(strings.TrimSpace(f) + "\n")
			}
			b.WriteString("\n")
		}
		data, err := index.Build(b.String())
		if err != nil {
			t.Fatal(err)
		}
		x, err := index.Load(data)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, Source{Index: x})
	}
	return New(list)
}

func wishes(text string) []ore.Wish {
	var list []ore.Wish
	for _, w := range strings.Fields(text) {
		name, version, _ := strings.Cut(w, "=")
		list = append(list, ore.Wish{Name: name, Version: version})
	}
	return list
}

// TestSolve lists the packages chosen; those of the base set have a star.
func TestSolve(t *testing.T) {
	tests := []struct {
		summary string
		sources []string
		wish    string
		want    string
		bare    bool
		more    bool // with what is recommended
	}{
		{summary: "a chain, with what comes before", wish: "a", want: "a b c",
			sources: []string{"a 1; Depends: b\nb 1; Pre-Depends: c\nc 1; Recommends: d\nd 1"}},
		{summary: "recommended packages too", wish: "a", want: "a b", more: true,
			sources: []string{"a 1; Recommends: b, nowhere\nb 1"}},
		{summary: "the first alternative that can be had", wish: "a", want: "a c",
			sources: []string{"a 1; Depends: b | c | d\nb 1; Depends: nowhere\nc 1\nd 1"}},
		{summary: "an alternative that is there already", wish: "c a", want: "a c",
			sources: []string{"a 1; Depends: b | c\nb 1\nc 1"}},
		{summary: "an alternative of the base set", wish: "a", want: "a c*",
			sources: []string{"a 1; Depends: b | c\nb 1\nc 1; Essential: yes"}},
		{summary: "the real package before its providers", wish: "a", want: "a v",
			sources: []string{"p 1; Provides: v; Priority: required\na 1; Depends: v\nv 1"}[:1], bare: true},
		{summary: "the provider of higher priority", wish: "a", want: "a q",
			sources: []string{"a 1; Depends: v\np 1; Provides: v; Priority: optional\nq 1; Provides: v; Priority: standard\nr 1; Provides: v; Priority: optional"}},
		{summary: "else the one mentioned last", wish: "a", want: "a r",
			sources: []string{"a 1; Depends: v\np 1; Provides: v\nq 1; Provides: v\nr 1; Provides: v"}},
		{summary: "only versioned provides meet versions", wish: "a", want: "a p",
			sources: []string{"a 1; Depends: v (>= 2)\np 1; Provides: v (= 2)\nq 1; Provides: v\nr 1; Provides: v (= 1)"}},
		{summary: "a wished virtual package with one provider", wish: "v", want: "p",
			sources: []string{"p 1; Provides: v"}},
		{summary: "any needs Multi-Arch: allowed", wish: "a", want: "a c",
			sources: []string{"a 1; Depends: b:any | c:any\nb 1; Multi-Arch: foreign\nc 1; Multi-Arch: allowed"}},
		{summary: "base: essential first, then required and apt", wish: "", want: "apt* e* l* r*",
			sources: []string{"o 1\nr 1; Priority: required\nl 1\ne 1; Essential: yes; Depends: l\napt 1; Depends: r"}},
		{summary: "the newest version of all sources", wish: "a", want: "a=2 b=3",
			sources: []string{"a 1\nb 3", "a 2; Depends: b\nb 1"}},
		{summary: "a wished version", wish: "a=1", want: "a=1 b=1",
			sources: []string{"a 1; Depends: b (= 1)\nb 1", "a 2\nb 2"}},
		{summary: "a wished version of the base set", wish: "e=1", want: "e=1*",
			sources: []string{"e 1; Essential: yes", "e 2; Essential: yes"}},
		{summary: "a choice taken back: the alternative conflicts with a later wish", wish: "a w", want: "a c w",
			sources: []string{"a 1; Depends: b | c\nb 1\nc 1\nw 1; Conflicts: b"}},
		{summary: "a choice deep below taken back", wish: "a", want: "a b d f",
			sources: []string{"a 1; Depends: b, d\nb 1; Depends: c | f\nc 1; Depends: e\nd 1; Conflicts: e\ne 1\nf 1"}},
		{summary: "an older version where the newest does not fit", wish: "a b", want: "a=1 b=1 l=1",
			sources: []string{"a 1; Depends: l (<< 2)\nb 1; Depends: l\nl 1", "l 2"}},
		{summary: "conflicts with its own virtual package", wish: "a", want: "a",
			sources: []string{"a 1; Provides: m; Conflicts: m; Breaks: a (<< 1)\nb 1; Provides: m"}},
		{summary: "a circle", wish: "a", want: "a b", sources: []string{"a 1; Depends: b\nb 1; Depends: a"}},
		{summary: "bare: of the base set what is needed", wish: "a", want: "a e", bare: true,
			sources: []string{"a 1; Depends: e\ne 1; Essential: yes\nf 1; Essential: yes"}},
	}
	tests[5].sources = []string{"p 1; Provides: v; Priority: standard\na 1; Depends: v\nv 1"}
	for _, test := range tests {
		t.Run(test.summary, func(t *testing.T) {
			u := universe(t, test.sources...)
			sol, err := u.Solve(context.Background(), Request{Wishes: wishes(test.wish), Bare: test.bare, Recommends: test.more})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range sol.Choices {
				name := c.Name
				if strings.Contains(test.want, "=") {
					name += "=" + c.Version
				}
				if c.Base {
					name += "*"
				}
				got = append(got, name)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %v, want %s", got, test.want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		summary string
		sources string
		wish    string
		as      any      // pointer to the type of the error
		say     []string // parts of its text
	}{
		{"a name that is nowhere", "hmmer 1", "hmer", new(*UnknownError), []string{"hmer", "did you mean hmmer"}},
		{"a virtual package with two providers", "p 1; Provides: v\nq 1; Provides: v", "v", new(*VirtualError), []string{"p, q"}},
		{"a version that is not there", "a 2\na 3", "a=1", new(*VersionError), []string{"a=1", "3 or 2"}},
		{"two versions", "a 2\na 3", "a=2 a=3", new(*VersionError), []string{"only one"}},
		{"a dependency that is nowhere", "a 1; Depends: b (>= 2) | c\nb 1", "a", new(*ConflictError),
			[]string{"you asked for a 1", "a 1 needs b (>= 2) | c", "there is b 1", "no index has c"}},
		{"wishes that conflict, deep below", "a 1; Depends: c\nb 1; Depends: d\nc 1; Conflicts: e\nd 1; Depends: e\ne 1", "a b", new(*ConflictError),
			[]string{"you asked for a 1", "you asked for b 1", "a 1 needs c", "b 1 needs d", "d 1 needs e", "c 1 conflicts with e 1"}},
		{"a conflict with the base set", "a 1; Breaks: e\ne 1; Essential: yes", "a", new(*ConflictError),
			[]string{"a 1 breaks e 1", "e 1 belongs to the base set"}},
		{"no alternative fits", "a 1; Depends: b | c\nb 1; Conflicts: w\nc 1; Conflicts: w\nw 1", "a w", new(*ConflictError),
			[]string{"a 1 needs b | c", "b 1 conflicts with w 1", "c 1 conflicts with w 1"}},
		{"a field that cannot be read", "a 1; Depends: b (", "a", new(*FieldError), []string{"package a 1"}},
	}
	for _, test := range tests {
		t.Run(test.summary, func(t *testing.T) {
			_, err := universe(t, test.sources).Solve(context.Background(), Request{Wishes: wishes(test.wish)})
			if err == nil {
				t.Fatal("no error")
			}
			if !errors.As(err, test.as) {
				t.Errorf("the error is a %T: %v", err, err)
			}
			for _, part := range test.say {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

// TestReasonsAreMinimal makes sure that what has nothing to do with a
// contradiction is not named.
func TestReasonsAreMinimal(t *testing.T) {
	u := universe(t, "a 1; Depends: x, c\nb 1; Depends: y, d\nc 1; Conflicts: d\nd 1\nx 1; Depends: z\ny 1\nz 1")
	_, err := u.Solve(context.Background(), Request{Wishes: wishes("x a y b")})
	var conflict *ConflictError
	if !errors.As(err, &conflict) {
		t.Fatal(err)
	}
	want := []string{"you asked for a 1", "you asked for b 1", "a 1 needs c", "b 1 needs d", "c 1 conflicts with d 1"}
	got := slices.Clone(conflict.Reasons)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := universe(t, "a 1").Solve(ctx, Request{Wishes: wishes("a")})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestPins keeps packages of suites like experimental from being chosen by
// themselves.
func TestPins(t *testing.T) {
	u := universe(t, "a 1", "a 2\nb 1")
	u.sources[1].Pin = PinNotAutomatic
	sol, err := u.Solve(context.Background(), Request{Wishes: wishes("a b")})
	if err != nil {
		t.Fatal(err)
	}
	if got := sol.Choices[0].Version; got != "1" {
		t.Errorf("version %s of a, want 1", got)
	}
}

// FuzzSolve builds small universes out of bytes and holds every answer of the
// search to the clauses: what is chosen must be closed and free of conflicts,
// and where it finds nothing, trying all subsets must find nothing either.
func FuzzSolve(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte{0x12, 0x83, 0x21, 0x94, 0x35, 0xa6})
	f.Fuzz(func(t *testing.T, data []byte) {
		const n = 6
		name := func(b byte) string { return string('a' + rune(b%n)) }
		fields := make([][2][]string, n)
		for i := 0; i+1 < len(data) && i < 24; i += 2 {
			of := data[i] % n
			switch data[i] / n % 3 {
			case 0:
				fields[of][0] = append(fields[of][0], name(data[i+1]))
			case 1:
				fields[of][0] = append(fields[of][0], name(data[i+1])+" | "+name(data[i+1]/n))
			default:
				fields[of][1] = append(fields[of][1], name(data[i+1]))
			}
		}
		var text strings.Builder
		for i, f := range fields {
			fmt.Fprintf(&text, "%s 1", name(byte(i)))
			if len(f[0]) > 0 {
				text.WriteString("; Depends: " + strings.Join(f[0], ", "))
			}
			if len(f[1]) > 0 {
				text.WriteString("; Conflicts: " + strings.Join(f[1], ", "))
			}
			text.WriteString("\n")
		}
		valid := func(set int) bool {
			has := func(name string) bool { return set>>(name[0]-'a')&1 != 0 }
			for i, f := range fields {
				if set>>i&1 == 0 {
					continue
				}
				for _, d := range f[0] {
					if !slices.ContainsFunc(strings.Split(d, " | "), has) {
						return false
					}
				}
				for _, c := range f[1] {
					if int(c[0]-'a') != i && has(c) {
						return false
					}
				}
			}
			return true
		}
		possible := false
		for set := range 1 << n {
			possible = possible || set&3 == 3 && valid(set)
		}
		sol, err := universe(t, text.String()).Solve(context.Background(), Request{Wishes: wishes("a b")})
		if (err == nil) != possible {
			t.Fatalf("%spossible: %v, answer: %v", text.String(), possible, err)
		}
		set := 0
		for _, c := range sol.Choices {
			set |= 1 << (c.Name[0] - 'a')
		}
		if err == nil && (set&3 != 3 || !valid(set)) {
			t.Fatalf("%sthe answer %b is not sound", text.String(), set)
		}
	})
}
