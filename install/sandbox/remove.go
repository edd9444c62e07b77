package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"ore/namespace"
)

// removeVariable tells a process of roleRemove what to delete.
const removeVariable = "ORE_SANDBOX_REMOVE"

// Remove deletes a tree, also one whose files belong to subordinate ids of
// this user, for which it enters a user namespace.
func Remove(ctx context.Context, path string) error {
	err := os.RemoveAll(path)
	if err == nil || os.Geteuid() == 0 || !errors.Is(err, os.ErrPermission) {
		return err
	}
	for _, ids := range []namespace.IDs{namespace.Ranges, namespace.AsRoot} {
		if err = removeAs(ctx, path, ids); err == nil {
			return nil
		}
	}
	return fmt.Errorf("remove %s: %w", path, err)
}

func removeAs(ctx context.Context, path string, ids namespace.IDs) error {
	var said bytes.Buffer
	p, err := namespace.Start(ctx, namespace.Options{
		Kinds: namespace.User | namespace.Mount | namespace.PID, IDs: ids,
		Env:    []string{roleVariable + "=" + roleRemove, removeVariable + "=" + path},
		Stderr: &said,
	})
	if err != nil {
		return err
	}
	if err := p.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

func removeInside() error { return os.RemoveAll(os.Getenv(removeVariable)) }

// Clearing is the environment with which this program, if it calls [Main], does
// nothing but Remove the tree at path.
func Clearing(path string) []string {
	return append(os.Environ(), roleVariable+"="+roleClear, removeVariable+"="+path)
}
