package vmtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"ore"
	"ore/vm"
)

// TestFake holds the Fake to the same contract as the real drivers. What its
// process says of devices is what it was told to say.
func TestFake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(path, BuildInit(t), 0o755); err != nil {
		t.Fatal(err)
	}
	fake := &Fake{Command: func(c vm.Config) *exec.Cmd {
		b, err := json.Marshal(pretend(c))
		if err != nil {
			panic(err)
		}
		cmd := exec.Command(path)
		cmd.Env = []string{"ORE_TEST_FAKE=" + string(b), "DIR=" + c.Dir + "/"}
		return cmd
	}}
	Conformance(t, fake, vm.Config{
		Initrd: path, Resources: ore.Resources{CPUs: runtime.NumCPU(), Memory: 256 << 20},
	})
}

// pretend makes the facts of a machine that has what c asks for.
func pretend(c vm.Config) facts {
	f := facts{CPUs: c.CPUs, Memory: c.Memory, Extra: "it is me", Cmdline: "ore.test=1"}
	for _, l := range c.Layers {
		fi, err := os.Stat(l)
		if err != nil {
			panic(err)
		}
		f.Disks = append(f.Disks, disk{l, fi.Size(), true})
	}
	if c.Disk != "" {
		fi, err := os.Stat(c.Disk)
		if err != nil {
			panic(err)
		}
		f.Disks = append(f.Disks, disk{c.Disk, fi.Size(), false})
	}
	if c.Net != nil {
		f.Links = []link{{"eth0", c.MAC.String(), 1500}}
	}
	return f
}
