package cache

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A list that is none any more is told once, with what to do.
func TestCorruptList(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "images.db")
	if err := os.WriteFile(file, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), dir)
	if err == nil {
		t.Fatal("it was opened")
	}
	if text := err.Error(); strings.Count(text, "not a database") != 1 || !strings.Contains(text, "move it away: mv "+file) {
		t.Errorf("the error is %q", text)
	}
}
