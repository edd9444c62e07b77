package memory

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Somebody is killed in a machine that looks for memory and finds none, for some
// time; not in one that is only busy, nor where the kernel has just killed.
func TestThrasher(t *testing.T) {
	easy := vmstat{kills: 1 << 40} // stands for a look that found memory to spare
	for _, c := range []struct {
		summary string
		looks   []vmstat // since the look before
		kills   []int    // the looks that end with a kill
	}{
		{"idle", []vmstat{{}, {}, {}}, nil},
		{"streams files", []vmstat{{scanned: 100_000, stolen: 90_000}, {scanned: 100_000, stolen: 50_000}, {scanned: 100_000, stolen: 10_000}}, nil},
		{"looks a little", []vmstat{{scanned: 5000}, {scanned: 5000}, {scanned: 5000}}, nil},
		{"a moment's trouble", []vmstat{{scanned: 60_000}, {}, {scanned: 60_000}, {}}, nil},
		{"thrashes", []vmstat{{scanned: 60_000, stolen: 100}, {scanned: 60_000, stolen: 100}}, []int{1}},
		{"a kill takes time to help", []vmstat{{scanned: 60_000}, {scanned: 60_000}, {scanned: 60_000}, {scanned: 60_000}, {scanned: 60_000}, {scanned: 60_000}, {scanned: 60_000}, {scanned: 60_000}}, []int{1, 7}},
		{"the kernel was quicker", []vmstat{{scanned: 60_000}, {scanned: 60_000, kills: 1}, {scanned: 60_000}}, nil},
		{"what was before memory to spare does not count", []vmstat{{scanned: 60_000}, easy, {scanned: 900_000}, {scanned: 60_000}}, nil},
	} {
		var now vmstat
		var kills []int
		th := thrasher{known: true}
		for i, l := range c.looks {
			if l == easy {
				th.rest()
				continue
			}
			now.scanned += l.scanned
			now.stolen += l.stolen
			now.kills += l.kills
			if th.look(now) {
				kills = append(kills, i)
			}
		}
		if !slices.Equal(kills, c.kills) {
			t.Errorf("%s: killed after looks %v, want %v", c.summary, kills, c.kills)
		}
	}
}

// The one with the highest score is chosen, and nobody if the kernel has killed
// somebody meanwhile.
func TestKillWorst(t *testing.T) {
	culprit := exec.Command("cat")
	in, err := culprit.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := culprit.Start(); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(culprit.Process.Pid)
	dir := t.TempDir()
	for p, score := range map[string]string{"1": "2000", "2": "0", pid: "1300", strconv.Itoa(os.Getpid()): "667", "self": "1999"} {
		if err := os.Mkdir(filepath.Join(dir, p), 0o755); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(dir, p, "oom_score"), []byte(score+"\n"), 0o644)
		os.WriteFile(filepath.Join(dir, p, "comm"), []byte("name of "+p+"\n"), 0o644)
	}
	if p, name := worst(dir); strconv.Itoa(p) != pid || name != "name of "+pid {
		t.Errorf("worst is %d %q, want %s", p, name, pid)
	}
	var told string
	tell := func(line string) { told += line }
	killWorst(dir, tell, func() bool { return false })
	if err := culprit.Process.Signal(unix.Signal(0)); err != nil {
		t.Fatalf("killed though the kernel had killed: %v", err)
	}
	killWorst(dir, tell, func() bool { return true })
	culprit.Wait()
	if s, ok := culprit.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != unix.SIGKILL {
		t.Errorf("ended as %v, want killed", culprit.ProcessState)
	}
	if want := "Out of memory: Killed process " + pid + " (name of " + pid + ")\n"; told != want {
		t.Errorf("told %q, want %q", told, want)
	}
	if p, _ := worst(t.TempDir()); p != 0 {
		t.Errorf("found %d where there is none", p)
	}
}

func TestParseVMStat(t *testing.T) {
	v := parseVMStat([]byte("nr_free_pages 11410\npgsteal_kswapd 6521\npgsteal_direct 2418\npgscan_kswapd 1\npgscan_direct 1989398\npgscan_direct_throttle 72\noom_kill 3\n"))
	if want := (vmstat{scanned: 1989398, stolen: 2418, kills: 3}); v != want {
		t.Errorf("%+v, want %+v", v, want)
	}
}

// Who is killed can still read the block that it is at, also on a small machine;
// a big one keeps what its kernel thinks right.
func TestReserve(t *testing.T) {
	for _, c := range []struct {
		total        uint64
		kernel, want int
	}{
		{64 << 20, 1017, 2730}, {240 << 20, 1983, 4096}, {4 << 30, 8192, 8192}, {24 << 20, 600, 1024},
	} {
		if got := reserve(c.total, c.kernel); got != c.want {
			t.Errorf("%d MiB: %d KiB, want %d", c.total>>20, got, c.want)
		}
	}
}
