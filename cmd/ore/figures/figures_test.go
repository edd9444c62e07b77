package figures

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/install/recipe"
)

// sample is settings, and rows of all arms that are plain to count with.
func sample() (head, table) {
	s := settings{Packages: []string{"hello"}, Machines: []int{1, 4}, Rounds: 1, Arms: arms(), Memory: "512M", Disk: "2G", Link: 100e6, Slow: 500e3, Scale: 16, cores: 2}
	h := head{Settings: s, Work: work{Tree: 60e6, Packages: 40e6, Count: 97}, Host: "here", Cores: 2}
	at := func(arm string, n int, install float64) row {
		r := row{Arm: arm, Machines: n, Round: 1, Stages: map[string]float64{recipe.Begin: 1, recipe.Restart: 1, recipe.Root: install}}
		r.Whole, r.Took = install+2, install+3
		return r
	}
	chain := at(armChain, 4, 5)
	chain.Stages[distribute] = 5
	return h, table{at(armPackages, 1, 40), at(armPackages, 4, 80), at(armDirect, 1, 10), at(armDirect, 4, 24), chain}
}

// A timeline's stages are the mean of the machines', and the whole lasts until the
// last of them is ready.
func TestReadTimeline(t *testing.T) {
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	at := func(name, machine string, begin, end float64) ore.Stage {
		second := func(s float64) time.Time { return from.Add(time.Duration(s * float64(time.Second))) }
		return ore.Stage{Name: name, Machine: machine, Start: second(begin), End: second(end)}
	}
	timeline := ore.Timeline{
		at("resolve", "", 0, 10), at(distribute, "", 10, 14), at(distribute, "h1", 10, 13), at("boot", "m0", 14, 15),
		at(recipe.Begin, "m0", 14, 15), at(recipe.Root, "m0", 15, 25), at(recipe.Ready, "m0", 26, 26),
		at(recipe.Begin, "m1", 14, 17), at(recipe.Root, "m1", 17, 37), at(recipe.Ready, "m1", 38, 38),
		at("run", "m0", 38, 99),
	}
	r := row{Machines: 2}
	if err := r.read(timeline); err != nil {
		t.Fatal(err)
	}
	if r.Whole != 28 || r.Stages[recipe.Begin] != 2 || r.Stages[recipe.Root] != 15 || r.Stages[distribute] != 4 || r.install() != 19 || len(r.Stages) != 4 {
		t.Errorf("%+v", r)
	}
	if err := (&row{Machines: 3}).read(timeline); err == nil {
		t.Error("three machines of two")
	}
}

// A run goes on where an earlier one ended, also amidst a line, and not with other
// settings or another environment.
func TestRowsAreGoneOnWith(t *testing.T) {
	dir := t.TempDir()
	h, rows := sample()
	b, err := openBook(dir, h)
	if err != nil {
		t.Fatal(err)
	}
	all := len(b.lacking(h.Settings))
	for _, r := range rows[:2] {
		if err := b.add(r); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(b.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(`{"Arm":"chain","Mach`)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	for n, r := range rows[2:4] {
		if b, err = openBook(dir, h); err != nil || len(b.rows) != 2+n {
			t.Fatalf("%d rows, %v", len(b.rows), err)
		}
		if err := b.add(r); err != nil {
			t.Fatal(err)
		}
	}
	more := h
	more.Settings.Machines, more.Settings.Rounds = []int{1, 4, 8}, 2
	if b, err = openBook(dir, more); err != nil || len(b.rows) != 4 {
		t.Fatalf("%+v, %v", b, err)
	}
	if left := len(b.lacking(h.Settings)); left != all-4 || all != 8 {
		t.Errorf("%d of %d are left", left, all)
	}
	for _, change := range []func(*head){
		func(h *head) { h.Settings.Link = 1 }, func(h *head) { h.Settings.Hosts = true }, func(h *head) { h.Work.Tree++ },
	} {
		other := h
		change(&other)
		if _, err := openBook(dir, other); err == nil || !strings.Contains(err.Error(), "-o") {
			t.Errorf("rows of %+v are taken for those of %+v: %v", h, other, err)
		}
	}
}

// As long as nothing was measured over the slow link, its rate may change; then not.
func TestSlowLinkIsChosenLate(t *testing.T) {
	dir := t.TempDir()
	h, rows := sample()
	faster := h
	faster.Settings.Scale *= 2
	open := func(h head, want int) *book {
		t.Helper()
		b, err := openBook(dir, h)
		if err != nil || len(b.rows) != want || b.head.Settings.Scale != h.Settings.Scale {
			t.Fatalf("%+v, %v", b, err)
		}
		return b
	}
	add := func(b *book, arm string) {
		t.Helper()
		r := rows[0]
		r.Arm = arm
		if err := b.add(r); err != nil {
			t.Fatal(err)
		}
	}
	add(open(h, 0), armChain)
	add(open(faster, 1), armSlow)
	open(faster, 2)
	if _, err := openBook(dir, h); err == nil || !strings.Contains(err.Error(), "--scale") {
		t.Errorf("rows over another slow link are taken: %v", err)
	}
}

// Who may not make hosts is told so before anything is made, and may measure without.
func TestOnlyRootHasHosts(t *testing.T) {
	for _, c := range []struct {
		hosts bool
		uid   int
		want  bool
	}{{true, 1000, false}, {true, 0, true}, {false, 1000, true}} {
		if err := (&settings{Hosts: c.hosts}).allowed(c.uid); (err == nil) != c.want {
			t.Errorf("hosts %v, uid %d: %v", c.hosts, c.uid, err)
		}
	}
}

// Tables and drawings are of medians; what was not measured is said.
func TestPresent(t *testing.T) {
	dir := t.TempDir()
	h, rows := sample()
	two, three := rows[2], rows[2]
	two.Round, two.Whole = 2, 112
	three.Round, three.Whole = 3, 14
	rows = append(rows, two, three)
	sh := &Shell{Err: io.Discard}
	if err := sh.present(&book{head: h, rows: rows}, dir); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	page := read("figures.md")
	for _, want := range []string{
		"| 4 | cached tree, fetched directly | 1 | 3 | 14.0 | 66.7 % | 10.0 |", "](figure5.svg)", "| 4 | 1 | saved of the install, against packages | 35.6 % | 75.0 % |",
		"| 4 | 1 | saved of the whole | 8.2 % | 66.7 % |", "| 2 | 16 | seconds until all machines are ready | 172 to 173 | not measured |", "scaled: 16 times 500 kbit/s",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if lines := strings.Count(read("rows.csv"), "\n"); lines != len(rows)+1 {
		t.Errorf("%d lines for %d rows", lines, len(rows))
	}
	for name, boxes := range map[string]int{"figure2.svg": 1 + 2*3 + 3, "figure4.svg": 1 + 2*3 + 3, "figure5.svg": 1 + 4 + 4} {
		got := 0
		for x := xml.NewDecoder(strings.NewReader(read(name))); ; {
			token, err := x.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
				got++
			}
		}
		if got != boxes {
			t.Errorf("%s: %d boxes, want %d", name, got, boxes)
		}
	}
	packages, direct := read("figure2.svg"), read("figure4.svg")
	for _, want := range []string{">-67 %<", ">-68 %<", ">the last, from packages<", "saved of the install, against packages, 1 machine: there 35.6 %, here 75.0 %", "16 machines: there less than nothing: slower, here not measured"} {
		if !strings.Contains(direct, want) || strings.Contains(packages, want) {
			t.Errorf("figure 4, and not 2, is to have %q:\n%s\n%s", want, direct, packages)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "figure6.svg")); err == nil {
		t.Error("a figure of nothing")
	}
}

// What each fetches for itself crosses the link so many times; what was measured
// says more than what is assumed.
func TestPredict(t *testing.T) {
	h, rows := sample()
	direct, chain, slow := arms()[1], arms()[2], arms()[3]
	if direct.bytes(h.Work, 4) != 240e6 || chain.bytes(h.Work, 4) != 60e6 || arms()[0].bytes(h.Work, 1) != 40e6 {
		t.Error("bytes over the link")
	}
	if slow.rate(h.Settings) != 8e6 || direct.rate(h.Settings) != 100e6 {
		t.Error("rates")
	}
	if got, want := direct.predict(h.Settings, h.Work, 4, nil), 4*60e6*8/100e6+assumed*2; got != want {
		t.Errorf("before anything: %.2f s, want %.2f", got, want)
	}
	// One machine took 13 s, 4.8 of them the link's: eight take four times the rest.
	if got, want := direct.predict(h.Settings, h.Work, 8, rows[:3]), 8*4.8+4*(13-4.8); got < want-.01 || got > want+.01 {
		t.Errorf("by one machine: %.2f s, want %.2f", got, want)
	}
}

// What cannot be measured is refused in words.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--arms", "direct,sideways"}, "use some of packages,direct,chain,slow"},
		{[]string{"--link", "fast"}, "use a rate such as"},
		{[]string{"--slow", "0"}, "needs a rate above 0"},
		{[]string{"--machines", "0,1"}, "use numbers from 1"},
		{[]string{"--rounds", "0"}, "use 1 to"},
		{[]string{"--memory", "much"}, "--memory much"},
	} {
		sh := &Shell{Err: io.Discard, Usage: func(err error) error { return err }}
		cmd := Command(sh)
		cmd.SetArgs(append([]string{"figures", "-o", t.TempDir()}, c.args...))
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
	}
}

// The folder of one that was killed is removed by the next, that of one that lives
// is not.
func TestFoldersOfTheKilled(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	const nobody = 1 << 30 // more than pid_max can be (proc(5))
	killed := filepath.Join(os.TempDir(), fmt.Sprintf("%s%d-1", folderName, nobody))
	lives := filepath.Join(os.TempDir(), fmt.Sprintf("%s%d-1", folderName, os.Getpid()))
	other := filepath.Join(os.TempDir(), folderName+"of-a-person")
	for _, d := range []string{killed, lives, other} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mine, err := makeFolder()
	if err != nil {
		t.Fatal(err)
	}
	for d, there := range map[string]bool{killed: false, lives: true, other: true, mine: true} {
		if _, err := os.Stat(d); (err == nil) != there {
			t.Errorf("%s: %v", d, err)
		}
	}
}

// An axis has a handful of round lines.
func TestTick(t *testing.T) {
	for _, top := range []float64{0.3, 1, 9.99, 28.5, 172, 1024, 99999} {
		if lines := top / tick(top); lines < 2 || lines > 12 {
			t.Errorf("%g: %.1f lines of %g", top, lines, tick(top))
		}
	}
	if len(colours()) < len(stageOrder()) || slices.Contains(stageOrder(), "") {
		t.Error("a stage without a colour")
	}
}

func FuzzRows(f *testing.F) {
	f.Add([]byte("{}\n{\"Arm\":\"chain\",\"Machines\":2}\n{\"Arm\""))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, rows, err := parseRows(text)
		for _, r := range rows {
			if err == nil && (r.Arm == "" || r.Machines < 1) {
				t.Errorf("%+v", r)
			}
		}
	})
}
