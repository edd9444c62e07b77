package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ore/install/sandbox/instead"
)

// workInstead runs programs for which others stand in.
func workInstead(s *Sandbox, dir string) error {
	root, err := overlaid(s, dir, "/bin/sh", "/bin/cat", "/bin/ls")
	if err != nil {
		return err
	}
	other, lent := filepath.Join(dir, "other"), filepath.Join(dir, "lent")
	err = errors.Join(
		os.WriteFile(other, []byte("#!/bin/sh\necho stands in\nexec "+instead.OwnDir+"/link \"$@\"\n"), 0o755),
		os.Mkdir(lent, 0o755), os.WriteFile(filepath.Join(lent, "file"), []byte("lent\n"), 0o644),
		os.Symlink("/bin/cat", filepath.Join(root, "link")),
	)
	if err != nil {
		return err
	}
	before, err := os.Stat(filepath.Join(root, "bin/cat"))
	if err != nil {
		return err
	}
	var out bytes.Buffer
	err = s.Run(context.Background(), Command{
		Root: root, Args: []string{"sh", "-euc", "link " + instead.LentDir + "/file; ls /dev/ore/own"},
		Env: []string{"PATH=/bin:/"}, Stdout: &out, Stderr: &out,
		Instead: instead.Set{Lend: lent, Programs: []instead.Program{
			{Path: "link", Host: other}, {Path: "bin/none", Host: other},
		}},
	})
	fmt.Print(out.String())
	if err != nil {
		return err
	}
	// Another run sees the tree's own, and the tree is as it was.
	said, err := sh(s, root, "cat /dev/null; ls /dev/ore 2>&1 || echo none; ls /bin")
	fmt.Print(said)
	if err != nil {
		return err
	}
	after, err := os.Stat(filepath.Join(root, "bin/cat"))
	if err == nil && (!os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime())) {
		err = errors.New("the tree's program is another one")
	}
	return err
}

// A program of the tree, also behind a link, is stood in for while a command
// runs, and reached in a folder of its own.
func TestInstead(t *testing.T) {
	for _, tier := range tiers {
		t.Run(string(tier), func(t *testing.T) {
			got := inside(t, tier, "instead", folder(t, tier))
			want := "stands in\nlent\nlink\nls: cannot access '/dev/ore': No such file or directory\nnone\ncat\nls\nsh\n"
			if got != want {
				t.Errorf("said %q, want %q", got, want)
			}
		})
	}
}
