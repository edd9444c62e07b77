package results

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Results are for those whom the umask lets, and a file that is replaced is
// whole as well; neither way leaves another file.
func TestWriteWhole(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o027))
	for name, write := range map[string]func(string, []byte) error{"without a name": WriteWhole, "with a name": writeNamed} {
		dir := t.TempDir()
		file := filepath.Join(dir, "f")
		for _, text := range []string{"first", "second, longer"} {
			if err := write(file, []byte(text)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if b, err := os.ReadFile(file); string(b) != text {
				t.Errorf("%s: %q, %v", name, b, err)
			}
		}
		info, err := os.Stat(file)
		if err != nil || info.Mode() != 0o640 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
		if list, err := os.ReadDir(dir); len(list) != 1 {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
	f, err := Create(filepath.Join(t.TempDir(), "r"), "j")
	if err != nil {
		t.Fatal(err)
	}
	part, err := f.Part("0")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Dir(f.Dir()), f.Dir(), part} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o750 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
}
