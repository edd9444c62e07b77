//go:build system

package installing

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"ore/netboot/lab"
)

// otherCard is the address of a second machine's card.
const otherCard = "52:54:00:00:09:02"

// whence is what a machine tells of what it wrote.
var whence = regexp.MustCompile(`(node\d): base.*?: ([\d.]+) (\wB|B) came from the server, and ([\d.]+) (\wB|B) from other machines`)

// bytesOf reads what view.Bytes wrote.
func bytesOf(t *testing.T, number, unit string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n * map[string]float64{"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
}

// TestMachinesPassOnWhatTheyInstall has two machines boot from the network at the same
// time and become the same: what they write leaves the server little more than once, and
// both come to their end.
func TestMachinesPassOnWhatTheyInstall(t *testing.T) {
	list, ok := assignedBut(t, func(list string) {
		file := filepath.Join(t.TempDir(), "node.yaml")
		if err := os.WriteFile(file, []byte(nodeFile), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := command(t, list, "assign", otherCard, "--name", "node2", "--firmware", "bios", "-f", file); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Cleanup(func() { exec.Command(program(t), "install", "forget", "node2", "--dir", list).Run() })
	}, nil)
	if !ok {
		return
	}
	lab.Ethernet(t)
	lab.Tap(t, "tap1")
	s := serve(t, list)
	for i, tap := range []string{"tap0", "tap1"} {
		disk := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(disk, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(disk, 4<<30); err != nil {
			t.Fatal(err)
		}
		argv := firmware(false, disk)
		if i == 1 {
			for k := range argv {
				argv[k] = strings.Replace(argv[k], lab.Card, otherCard, 1)
			}
		}
		lab.RunOn(t, tap, argv...)
	}
	s.expect(t, "came from the server, and ")
	s.expect(t, "came from the server, and ")
	var home, near float64
	told := map[string]int{}
	for _, m := range whence.FindAllStringSubmatch(s.text(), -1) {
		t.Log(m[0])
		told[m[1]]++
		home, near = home+bytesOf(t, m[2], m[3]), near+bytesOf(t, m[4], m[5])
	}
	if told["node1"] != 1 || told["node2"] != 1 {
		t.Errorf("each machine tells once where it got what it wrote from, and these tell: %v\n%s", told, s.text())
	}
	if image := (home + near) / 2; near == 0 || home > 1.2*image {
		t.Errorf("%.0f bytes came from the server, and %.0f from the other machine, of an image of %.0f\n%s", home, near, image, s.text())
	}
	s.expect(t, "restart")
	s.expect(t, "restart")
	s.end(syscall.SIGINT)
}
