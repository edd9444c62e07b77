package kept

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Keep gives the folder dir, which is whole, its place among the trees that are
// kept, unless another build was faster, and returns where it is. owners is the
// sandbox's table, "" for none.
func Keep(dir, place, owners string) (string, error) {
	if owners != "" {
		if err := appendTo(place+OwnersSuffix, owners); err != nil {
			return "", fmt.Errorf("keep tree: %w", err)
		}
	}
	err := os.Rename(dir, place)
	switch {
	case err == nil:
		return place, nil
	case errors.Is(err, os.ErrExist) || errors.Is(err, unix.ENOTEMPTY):
		return dir, nil
	}
	return "", fmt.Errorf("keep tree: %w", err)
}

// appendTo adds the rows of a table to another one: if two builds keep the same
// tree, only one of the trees is kept, but it does not matter whose rows are.
func appendTo(name, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// Join writes what the tables of all kept trees of a tier say to one
// table. A row names a file by its inode and its time of birth, so that rows of
// trees that are gone do no harm.
func Join(dir, to string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*"+OwnersSuffix))
	if err != nil {
		return fmt.Errorf("join owners: %w", err)
	}
	var all []byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("join owners: %w", err)
		}
		all = append(all, b...)
	}
	if err := os.WriteFile(to, all, 0o644); err != nil {
		return fmt.Errorf("join owners: %w", err)
	}
	return nil
}
