package figures

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ore"
	"ore/install/recipe"
)

// row is one measurement: n machines, by one arm.
type row struct {
	Arm      string
	Machines int
	Round    int
	Stages   map[string]float64 // seconds, the mean of all machines
	Whole    float64            // seconds from the first stage to the last machine that is ready
	Took     float64            // seconds of the whole command
	Crossed  int64              // bytes over the source's link
	Load     float64            // of this computer, before
	At       time.Time
}

// distribute is the stage before a machine's own: the chain.
const distribute = "distribute"

// stageOrder is that of the bars, from below.
func stageOrder() []string { return append([]string{distribute}, recipe.Stages()...) }

// install is the part of a row that the old system called the install: the tree's
// way, and the packages'.
func (r row) install() float64 {
	return r.Stages[distribute] + r.Stages[recipe.Root] + r.Stages[recipe.Install]
}

// read takes the stages in from a job's timeline.
func (r *row) read(t ore.Timeline) error {
	r.Stages = map[string]float64{}
	var first, last time.Time
	machines := map[string]bool{}
	sum := map[string]float64{}
	for _, s := range t {
		took := s.End.Sub(s.Start).Seconds()
		own := s.Machine != "" && s.Name != distribute
		switch {
		case own && slices.Contains(recipe.Stages(), s.Name):
			sum[s.Name] += took
		case !own && s.Machine == "" && s.Name == distribute:
			r.Stages[distribute] += took
		default:
			continue
		}
		if own {
			machines[s.Machine] = true
		}
		if first.IsZero() || s.Start.Before(first) {
			first = s.Start
		}
		if s.End.After(last) {
			last = s.End
		}
	}
	if len(machines) != r.Machines {
		return fmt.Errorf("the timeline shows %d machines that installed themselves, not %d", len(machines), r.Machines)
	}
	for name, s := range sum {
		r.Stages[name] = s / float64(len(machines))
	}
	r.Whole = last.Sub(first).Seconds()
	return nil
}

// head is the first line of a file of rows.
type head struct {
	Settings settings
	Work     work
	Host     string
	Cores    int
	Begun    time.Time
}

// book is the file of rows.
type book struct {
	path string
	head head
	rows []row
}

// rowsFile is its name.
const rowsFile = "rows.jsonl"

// openBook reads the rows of an earlier run with the same settings. The slow link's
// rate may be another as long as nothing was measured over it.
func openBook(dir string, h head) (*book, error) {
	b := &book{path: filepath.Join(dir, rowsFile), head: h}
	text, err := os.ReadFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		line, err := json.Marshal(h)
		if err != nil {
			return nil, err
		}
		return b, os.WriteFile(b.path, append(line, '\n'), 0o644)
	}
	if err != nil {
		return nil, err
	}
	if b.head, b.rows, err = parseRows(text); err != nil {
		return nil, fmt.Errorf("%s: %w: give another folder with -o", b.path, err)
	}
	if b.head.Work != h.Work || !b.head.Settings.same(h.Settings) {
		return nil, fmt.Errorf("%s has rows of other settings or of another environment: give another folder with -o", b.path)
	}
	if b.head.Settings.sameSlow(h.Settings) {
		return b, nil
	}
	if slices.ContainsFunc(b.rows, func(r row) bool { return r.Arm == armSlow }) {
		return nil, fmt.Errorf("%s has rows of a slow link of %s: give this rate again (--slow and --scale), or another folder with -o",
			b.path, showRate(int64(float64(b.head.Settings.Slow)*b.head.Settings.Scale)))
	}
	// No row depends on the old one.
	b.head.Settings.Slow, b.head.Settings.Scale = h.Settings.Slow, h.Settings.Scale
	return b, b.rewrite(text)
}

// rewrite puts the head in the place of the first line of text, which is the file's.
func (b *book) rewrite(text []byte) error {
	line, err := json.Marshal(b.head)
	if err != nil {
		return err
	}
	_, rows, _ := bytes.Cut(text, []byte{'\n'})
	made := b.path + ".new"
	if err := os.WriteFile(made, slices.Concat(line, []byte{'\n'}, rows), 0o644); err != nil {
		return err
	}
	return os.Rename(made, b.path)
}

// parseRows reads a file of rows. A last line that is not whole is one that was
// being written when the computer stopped, and is left out.
func parseRows(text []byte) (h head, rows []row, err error) {
	whole := bytes.LastIndexByte(text, '\n') + 1
	lines := bufio.NewScanner(bytes.NewReader(text[:whole]))
	const longest = 1 << 20 // of a line: a row has a dozen stages
	lines.Buffer(nil, longest)
	if !lines.Scan() {
		return h, nil, errors.New("it has no first line")
	}
	if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
		return h, nil, fmt.Errorf("first line: %w", err)
	}
	for n := 2; lines.Scan(); n++ {
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return h, nil, fmt.Errorf("line %d: %w", n, err)
		}
		if r.Arm == "" || r.Machines < 1 {
			return h, nil, fmt.Errorf("line %d: no arm, or no machines", n)
		}
		rows = append(rows, r)
	}
	return h, rows, lines.Err()
}

// has says whether a measurement is there already.
func (b *book) has(a arm, n, round int) bool {
	return slices.ContainsFunc(b.rows, func(r row) bool { return r.Arm == a.name && r.Machines == n && r.Round == round })
}

// add keeps a row.
func (b *book) add(r row) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(b.path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(b.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	// Behind the last whole line, should there be half of one.
	_, err = f.WriteAt(append(line, '\n'), int64(bytes.LastIndexByte(text, '\n')+1))
	if err = errors.Join(err, f.Close()); err == nil {
		b.rows = append(b.rows, r)
	}
	return err
}
