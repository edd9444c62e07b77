package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"ore"
)

// Verified returns the file of blob d after making sure that its bytes match.
//
// Hashing a layer takes longer than starting a machine with it, so the store
// notes for each blob the inode, size and change time (st_ctime, which no
// program can set) at which its bytes were last seen to match. As long as these
// are the same, nobody has written to the file since; otherwise it is read
// again. What the kernel cannot notice, such as a disk that rots, Verify finds.
func (s *Store) Verified(ctx context.Context, d ore.Digest) (string, error) {
	p, err := s.Path(d)
	if err != nil {
		return "", err
	}
	now, err := stampOf(p)
	if err != nil {
		return "", fmt.Errorf("blob %s: %w", d.Short(), removed(err))
	}
	if seen, err := os.ReadFile(s.stamp(d)); err == nil && string(seen) == now {
		return p, nil
	}
	if err := s.Verify(ctx, d); err != nil {
		return "", err
	}
	s.note(d, now)
	return p, nil
}

func (s *Store) stamp(d ore.Digest) string {
	return filepath.Join(s.dir, "stamps", d.Hex())
}

// note keeps a stamp.
func (s *Store) note(d ore.Digest, stamp string) { s.keepNote(s.stamp(d), stamp) }

func stampOf(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("%s: no inode", path)
	}
	return fmt.Sprintf("%d %d %d.%09d", st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec), nil
}
