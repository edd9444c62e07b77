package installing

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMachineSaysWhenItIsReady leaves word in a tree, twice: the second home is
// the one that counts.
func TestMachineSaysWhenItIsReady(t *testing.T) {
	target := t.TempDir()
	program := filepath.Join(t.TempDir(), "ore-init")
	if err := os.WriteFile(program, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, home := range []string{"http://10.9.0.1:8067/report/OLD", "http://10.9.0.1:8067/report/NEW"} {
		if err := leaveWord(target, program, home); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path, has string
		mode      os.FileMode
	}{
		{readyProgram, "program", 0o755}, {readyFile, `{"home":"http://10.9.0.1:8067/report/NEW"}`, 0o400},
		{readyUnit, "ExecStart=/usr/local/lib/ore/ore-init ready /var/lib/ore/ready.json\n", 0o644},
	} {
		b, err := os.ReadFile(filepath.Join(target, c.path))
		if err != nil || !strings.Contains(string(b), c.has) {
			t.Errorf("%s: %q, %v", c.path, b, err)
		}
		if i, err := os.Stat(filepath.Join(target, c.path)); err != nil || i.Mode().Perm() != c.mode {
			t.Errorf("%s: mode %v, %v", c.path, i.Mode(), err)
		}
	}
	if to, err := os.Readlink(filepath.Join(target, readyWanted)); err != nil || to != "/"+readyUnit {
		t.Errorf("the unit is wanted as %q, %v", to, err)
	}
}
