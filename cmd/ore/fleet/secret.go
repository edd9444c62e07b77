package fleet

import (
	"fmt"
	"os"
)

// others are the bits of a file's mode that a secret's must not have.
const others = 0o077

// conceal makes the file that a secret is about to be written to its owner's alone:
// a shell that sends output to a file makes one that everybody may read. Of one that
// is another user's it is said that others may read it.
func (s *Shell) conceal() {
	f, ok := s.Out.(*os.File)
	if !ok {
		return
	}
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Mode().Perm()&others == 0 {
		return // a terminal, a pipe, or what was concealed before
	}
	if err := f.Chmod(0o600); err != nil {
		fmt.Fprintf(s.Err, "ore: where the keys go, others may read them (mode %04o, and it is not yours to change): make new ones, and write them to a file of your own\n", st.Mode().Perm())
	}
}

// warn says that others may read a file with keys. They may have: it is not refused,
// since making it unreadable now would not take them back.
func (s *Shell) warn(path string) {
	if st, err := os.Stat(path); err == nil && st.Mode().Perm()&others != 0 {
		fmt.Fprintf(s.Err, "ore: %s: others may read these keys (mode %04o): make new ones with 'ore hosts issue', and keep them with chmod 600\n", path, st.Mode().Perm())
	}
}
