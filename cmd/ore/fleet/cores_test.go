package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// TestMain lets the test's program be one that confines itself, and says how many
// CPUs it then has.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "play:cores" {
		if err := confine(1); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Print(runtime.NumCPU())
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestConfine(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("this host has one CPU: there is nothing to take away")
	}
	if out, err := exec.Command("/proc/self/exe", "play:cores").Output(); err != nil || string(out) != "1" {
		t.Errorf("it has %s CPUs, %v", out, err)
	}
	for _, n := range []int{0, -1, 1 << 20} {
		if err := confine(n); err == nil || !strings.Contains(err.Error(), "--cores") {
			t.Errorf("%d: %v", n, err)
		}
	}
}
