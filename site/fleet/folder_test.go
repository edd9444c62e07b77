package fleet

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestAFolderThatIsNotOursIsRefused puts into the folder for temporary files, where
// everybody may make names, what another user could have put there.
func TestAFolderThatIsNotOursIsRefused(t *testing.T) {
	for _, c := range []struct {
		summary string
		plant   func(t *testing.T, dir string) error
		refused string // part of the error; empty if the folder is used
	}{
		{"nothing", func(*testing.T, string) error { return nil }, ""},
		{"our own", func(_ *testing.T, dir string) error { return os.Mkdir(dir, 0o700) }, ""},
		{"our own, but others may write", func(_ *testing.T, dir string) error {
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			return os.Chmod(dir, 0o777)
		}, "write to it (mode 0777)"},
		{"our own, but others may look", func(_ *testing.T, dir string) error { return os.Mkdir(dir, 0o755) }, "want 0700"},
		{"a link", func(t *testing.T, dir string) error { return os.Symlink(t.TempDir(), dir) }, "symbolic link"},
		{"a file", func(_ *testing.T, dir string) error { return os.WriteFile(dir, nil, 0o600) }, "no folder"},
		{"another's", func(t *testing.T, dir string) error {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a folder to another user")
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			return os.Chown(dir, 65534, 65534)
		}, "belongs to another user"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Setenv("HOME", "")
			t.Setenv("XDG_CACHE_HOME", "")
			t.Setenv("TMPDIR", t.TempDir())
			want := filepath.Join(os.Getenv("TMPDIR"), "ore-"+strconv.Itoa(os.Geteuid()))
			if err := c.plant(t, want); err != nil {
				t.Fatal(err)
			}
			dir, err := DefaultDir()
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), "--dir") {
					t.Errorf("%q, %v, want an error with %q", dir, err, c.refused)
				}
				return
			}
			if err != nil || dir != want {
				t.Fatalf("%q, %v, want %q", dir, err, want)
			}
			if st, err := os.Lstat(dir); err != nil || st.Mode().Perm() != 0o700 {
				t.Errorf("%v, %v, want mode 0700", st, err)
			}
		})
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := folder(open); err == nil {
		t.Error("a folder to which everybody may write was taken because it was named")
	}
}
