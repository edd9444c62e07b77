package ahead

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Book is the file that says what was prepared, a line for each image.
type Book struct {
	Path string
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
