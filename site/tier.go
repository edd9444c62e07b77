package site

import (
	"context"
	"os"
	"path/filepath"

	"ore/install/sandbox"
)

// tierVariable has a tier used that is not the best, to compare them.
const tierVariable = "ORE_SANDBOX"

// tier returns the best way to be root in a tree that works here, found out by
// trying, unless the user says which to take.
func (s *Site) tier(ctx context.Context) (sandbox.Tier, error) {
	if t := os.Getenv(tierVariable); t != "" {
		return sandbox.Tier(t), nil
	}
	dir := filepath.Join(s.Dirs.Cache, "install")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return sandbox.Detect(ctx, dir)
}
