package inside

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The signals of the C libraries end neither this program nor change what its
// children do with them.
func TestLibrarySignalsPass(t *testing.T) {
	for n := firstLibrary; n <= lastLibrary; n++ {
		if err := passing().set(n); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if err := unix.Kill(os.Getpid(), n); err != nil {
				t.Fatal(err)
			}
		}
	}
	out, err := exec.Command("grep", "SigIgn", "/proc/self/status").Output()
	if err != nil {
		t.Fatal(err)
	}
	mask, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(string(out), "SigIgn:")), 16, 64)
	if err != nil || mask>>(firstLibrary-1)&7 != 0 {
		t.Errorf("a child ignores %x, %v", mask, err)
	}
}
