package kept

import (
	"fmt"
	"os"
	"path/filepath"
)

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
