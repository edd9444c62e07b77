package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A full disk is said once, with what to do, and nothing else is taken for one.
func TestFullDiskSaysWhatToDo(t *testing.T) {
	err := Full(fmt.Errorf("unpack hello: %w", unix.ENOSPC))
	if !errors.Is(err, unix.ENOSPC) || strings.Count(Full(err).Error(), "free some space") != 1 {
		t.Errorf("a full disk: %v", err)
	}
	namespaces := &fs.PathError{Op: "fork/exec", Path: "/proc/self/exe", Err: unix.ENOSPC}
	if other := Full(namespaces); errors.Is(other, ErrFull) {
		t.Errorf("a full disk is seen in %v", other)
	}
	if other := Full(unix.EIO); errors.Is(other, ErrFull) {
		t.Errorf("another fault: %v", other)
	}
}

// A file that has a blob's name but another size is not taken for it.
func TestBlobOfAnotherSize(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	content := []byte("the right bytes")
	d, err := s.PutBytes(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Path(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(p), os.WriteFile(p, content[:3], 0o444)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutBytes(t.Context(), content); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), d); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(s.Dir(), "quarantine", d.Hex())); err != nil {
		t.Errorf("the other file: %v", err)
	}
}
