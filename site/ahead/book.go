package ahead

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/cache"
	"ore/site/ledger"
)

// Book is the file that says what was prepared, a line for each image. The folder
// wishes beside it has what was asked for, a file for each wish, so that an image can
// be made again that is not kept any more.
type Book struct {
	Path string
}

// maxWishes is how many wishes are remembered, those that were asked for last: some
// times as many as are looked at.
const maxWishes = 4 * most

func (b Book) wishes() string { return filepath.Join(filepath.Dir(b.Path), "wishes") }

// Remember keeps what env was resolved from, if it can be resolved again.
func (b Book) Remember(env ore.Environment) error {
	wants, why := wish(env)
	if why != "" {
		return nil
	}
	name, now := filepath.Join(b.wishes(), cache.WishOf(env)), time.Now()
	if err := os.Chtimes(name, now, now); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := json.Marshal(wants)
	if err != nil {
		return fmt.Errorf("remember a wish: %w", err)
	}
	if err := os.MkdirAll(b.wishes(), 0o700); err != nil {
		return fmt.Errorf("remember a wish: %w", err)
	}
	if err := ledger.WriteWhole(name, text); err != nil {
		return fmt.Errorf("remember a wish: %w", err)
	}
	return b.forget()
}

// forget removes the wishes that were asked for longest ago, above maxWishes.
func (b Book) forget() error {
	list, err := os.ReadDir(b.wishes())
	if err != nil || len(list) <= maxWishes {
		return err
	}
	when := map[string]time.Time{}
	for _, e := range list {
		if info, err := e.Info(); err == nil { // else somebody else has removed it
			when[e.Name()] = info.ModTime()
		}
	}
	oldest := slices.SortedFunc(maps.Keys(when), func(x, y string) int { return when[x].Compare(when[y]) })
	for _, name := range oldest[:max(0, len(oldest)-maxWishes)] {
		if err := os.Remove(filepath.Join(b.wishes(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Recall returns what a wish was resolved from, false if that is not known.
func (b Book) Recall(wish string) (w ore.Wants, known bool) {
	text, err := os.ReadFile(filepath.Join(b.wishes(), filepath.Base(wish)))
	known = err == nil && json.Unmarshal(text, &w) == nil
	return w, known
}

// Keep notes what was prepared, for what it gains later.
func (b Book) Keep(all []Prepared) error {
	f, err := os.OpenFile(b.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("note what was prepared: %w", err)
	}
	var lines bytes.Buffer
	for _, p := range all {
		if err := json.NewEncoder(&lines).Encode(p); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	_, err = f.Write(lines.Bytes())
	return errors.Join(err, f.Close())
}

// Prepared returns what was kept.
func (b Book) Prepared() ([]Prepared, error) {
	text, err := os.ReadFile(b.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what was prepared: %w", err)
	}
	var all []Prepared
	for line := range bytes.Lines(text) {
		var p Prepared
		if json.Unmarshal(line, &p) == nil { // a line cut short is left out
			all = append(all, p)
		}
	}
	return all, nil
}
