package fleet

import (
	"fmt"
	"io"
	"os"
)

// others are the bits of a file's mode that a secret's must not have.
const others = 0o077

// conceal makes the file that a secret is about to be written to its owner's alone:
// a shell that sends output to a file makes one that everybody may read.
func conceal(out io.Writer) error {
	f, ok := out.(*os.File)
	if !ok {
		return nil
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Mode().Perm()&others == 0 {
		return nil // a terminal, a pipe, or what was concealed before
	}
	if err := f.Chmod(0o600); err != nil {
		return fmt.Errorf("write keys: %w: write them to a file of your own", err)
	}
	return nil
}

// warn says that others may read a file with keys. They may have: it is not refused,
// since making it unreadable now would not take them back.
func (s *Shell) warn(path string) {
	if st, err := os.Stat(path); err == nil && st.Mode().Perm()&others != 0 {
		fmt.Fprintf(s.Err, "ore: %s: others may read these keys (mode %04o): make new ones with 'ore hosts issue', and keep them with chmod 600\n", path, st.Mode().Perm())
	}
}
