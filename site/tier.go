package site

import (
	"context"
	"errors"
	"os"

	"ore/install/sandbox"
	"ore/namespace"
)

// bestTier returns the best way to be root in a tree that works here.
func bestTier(ctx context.Context) (sandbox.Tier, error) {
	if t := os.Getenv(tierVariable); t != "" {
		return sandbox.Tier(t), nil
	}
	if os.Geteuid() == 0 {
		return sandbox.Root, nil
	}
	abilities := namespace.Probe(ctx)
	switch {
	case abilities[2].Works:
		return sandbox.SubIDs, nil
	case abilities[1].Works:
		return sandbox.Single, nil
	}
	return "", errors.New("build image: " + abilities[1].Why)
}

// tierVariable has a tier used that is not the best, to compare them.
const tierVariable = "ORE_SANDBOX"
