package guest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// An output is found by its name as by a pattern, whatever it is: a link that
// leads elsewhere is for the receiver to refuse, and not to be passed over.
func TestPackMatches(t *testing.T) {
	at := t.TempDir()
	if err := errors.Join(
		os.Mkdir(filepath.Join(at, "d"), 0o755), os.WriteFile(filepath.Join(at, "d", "f"), nil, 0o644),
		os.Symlink("/etc/shadow", filepath.Join(at, "out")), os.Symlink("nowhere", filepath.Join(at, "d", "lost")),
		os.Symlink("/etc", filepath.Join(at, "far")),
	); err != nil {
		t.Fatal(err)
	}
	dir, err := os.OpenRoot(at)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, c := range []struct {
		patterns, want []string
		fails          bool
	}{
		{patterns: []string{"out"}, want: []string{"out"}},
		{patterns: []string{"o*", "./out"}, want: []string{"out"}},
		{patterns: []string{"d/lost", "d/f"}, want: []string{"d/lost", "d/f"}},
		{patterns: []string{"none", "d/f/none", "none/*"}},
		{patterns: []string{"far/passwd"}, fails: true},
		{patterns: []string{"../x"}, fails: true},
	} {
		var b bytes.Buffer
		err := PackMatches(&b, dir, c.patterns)
		if (err != nil) != c.fails {
			t.Errorf("%q: %v", c.patterns, err)
		}
		if err != nil {
			continue
		}
		var got []string
		for r := tar.NewReader(&b); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, h.Name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.patterns, got, c.want)
		}
	}
}
