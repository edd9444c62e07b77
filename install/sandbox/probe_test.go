package sandbox

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore/install/sandbox/host"
)

// asPerson does work that needs no sandbox to start with.
func asPerson(name, dir string) error {
	ctx := context.Background()
	switch name {
	case "probe":
		for _, a := range Probe(ctx, dir) {
			fmt.Println(a.Tier, a.Works, a.Why)
		}
		best, err := Detect(ctx, dir)
		fmt.Println("best", best, err)
		return nil
	case "believe":
		if err := host.Note(dir, "fancy"); err != nil {
			return err
		}
		noted, err := Detect(ctx, dir)
		fmt.Println("first", noted, err)
		host.Doubt(dir)
		noted, err = Detect(ctx, dir)
		fmt.Println("then", noted, err)
		return nil
	case "remove":
		return Remove(ctx, filepath.Join(dir, "lower"))
	}
	return fmt.Errorf("no work is called %q", name)
}

func TestProbe(t *testing.T) {
	for _, tier := range tiers {
		t.Run(string(tier), func(t *testing.T) {
			dir := folder(t, tier)
			out := personally(t, tier, "probe", dir)
			t.Log(out)
			want := map[Tier][]string{
				Root:   {"root true \n", "best root "},
				SubIDs: {"root false ", "subids true \n", "single true \n", "best subids "},
				Single: {"root false ", "subids false ", "subordinate ids", "usermod --add-subuids", "single true \n", "best single "},
			}
			for _, w := range want[tier] {
				if !strings.Contains(out, w) {
					t.Errorf("no %q in:\n%s", w, out)
				}
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 1 || left[0].Name() != "tier" {
				t.Errorf("left behind, beside what worked: %v, %v", left, err)
			}
			// What was noted is believed, whatever it is.
			noted := personally(t, tier, "believe", dir)
			if noted != "first fancy <nil>\nthen "+string(tier)+" <nil>\n" {
				t.Errorf("believed was %q", noted)
			}
		})
	}
}

// A tree below a folder that a Run hides from its programs works as well.
func TestProbeInHiddenFolder(t *testing.T) {
	out := personally(t, Root, "probe", folderIn(t, Root, "/dev/shm"))
	if !strings.Contains(out, "root true \n") || !strings.Contains(out, "best root ") {
		t.Errorf("got:\n%s", out)
	}
}

func workOwned(s *Sandbox, dir string) error {
	sub := filepath.Join(dir, "lower", "sub")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(sub, "file"), nil, 0o600); err != nil {
		return err
	}
	for _, p := range []string{sub, filepath.Join(sub, "file")} {
		if err := s.Chown(p, 9, 9); err != nil {
			return err
		}
	}
	return os.Chmod(sub, 0o500)
}

// TestRemove deletes a tree that rm, run by the same user, can not.
func TestRemove(t *testing.T) {
	for _, tier := range tiers {
		t.Run(string(tier), func(t *testing.T) {
			dir := folder(t, tier)
			inside(t, tier, "owned", dir)
			if tier == SubIDs {
				st, err := os.Stat(filepath.Join(dir, "lower/sub/file"))
				if err != nil {
					t.Fatal(err)
				}
				if uid := ownerNumber(st); uid < 65536 {
					t.Errorf("the file belongs to %d, which is not a subordinate id", uid)
				}
			}
			personally(t, tier, "remove", dir)
			if _, err := os.Lstat(filepath.Join(dir, "lower")); !os.IsNotExist(err) {
				t.Errorf("the tree is still there: %v", err)
			}
		})
	}
}
