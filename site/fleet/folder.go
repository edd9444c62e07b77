package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// DefaultDir is where an agent keeps its blobs: in this user's cache, or where
// there is no home, below the folder for temporary files. There anybody can make a
// folder of any name (it has the sticky bit, so nobody can rename ours): what is
// there and is not ours alone is not used.
func DefaultDir() (string, error) {
	if d, err := os.UserCacheDir(); err == nil {
		if probe := filepath.Join(d, "ore", "node"); os.MkdirAll(probe, 0o700) == nil && own(probe) == nil {
			return probe, nil
		}
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("ore-%d", os.Geteuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("folder for the agent: %w: give one that you can write to with --dir", err)
	}
	info, err := os.Lstat(dir)
	if err == nil && info.Mode()&os.ModeSymlink != 0 {
		err = fmt.Errorf("folder %s: it is a symbolic link", dir)
	}
	if err == nil {
		err = own(dir)
	}
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("folder %s: others than its owner may use it (mode %04o, want 0700)", dir, info.Mode().Perm())
	}
	if err != nil {
		return "", unsafe(err)
	}
	return dir, nil
}

// folder is where an agent keeps its blobs, made if need be.
func folder(dir string) (string, error) {
	if dir == "" {
		return DefaultDir()
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("folder for the agent: %w: give one that you can write to with --dir", err)
	}
	if err := own(dir); err != nil {
		return "", unsafe(err)
	}
	return dir, nil
}

// unsafe adds to why a folder is not used what that is good for.
func unsafe(err error) error {
	return fmt.Errorf("%w: somebody could have this agent run programs of theirs: give a folder of your own with --dir", err)
}

// own says whether a folder is this user's, and not everybody may write there: an
// agent runs programs that it has laid out in its folder.
func own(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("folder %s: it is no folder", dir)
	case !ok || int(owner.Uid) != os.Geteuid():
		return fmt.Errorf("folder %s: it belongs to another user", dir)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("folder %s: everybody may write to it (mode %04o)", dir, info.Mode().Perm())
	}
	return nil
}
