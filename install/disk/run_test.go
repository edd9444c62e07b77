package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/install/disk/table"
)

// sh runs a program, and gives the test up when it fails.
func sh(t *testing.T, argv ...string) string {
	t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	c.Env = append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1")
	var said bytes.Buffer // what LVM complains of is often another test's disk
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(argv, " "), err, out, said.String())
	}
	return strings.TrimSpace(string(out))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("this kernel has no loop devices")
	}
	if b, _ := os.ReadFile("/proc/mounts"); !strings.Contains(string(b), " /dev devtmpfs ") {
		t.Skip("/dev is no devtmpfs: the device files of partitions appear only there")
	}
}

// loop makes a disk of a sparse file.
func loop(t *testing.T, size int64, options ...string) (device, file string) {
	t.Helper()
	needRoot(t)
	file = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	return attach(t, file, options...), file
}

func attach(t *testing.T, file string, options ...string) string {
	t.Helper()
	device := sh(t, append(append([]string{"losetup", "-f", "-P", "--show"}, options...), file)...)
	t.Cleanup(func() { sh(t, "losetup", "-d", device) })
	return device
}

// look returns what the kernel and we see of a device.
func look(t *testing.T, device string) Seen {
	t.Helper()
	all, err := System{"/"}.Devices()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if d.Path() == device {
			s, err := Look(d)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}
	t.Fatalf("%s is not among %v", device, all)
	return Seen{}
}

// everything is one file system of each kind.
func everything(device string) Wish {
	return Wish{Machine: "m0", Firmware: UEFI, Storage: ore.Storage{Disks: []ore.Disk{{Match: ore.Match{Path: device}, Partitions: []ore.Partition{
		sized(64*mib, "ext4", "/"), sized(310*mib, "xfs", "/scratch"), sized(16*mib, "swap", ""), rest("btrfs", "/home"),
	}}}}}
}

func arrange(t *testing.T, w Wish, devices ...string) Layout {
	t.Helper()
	var seen []Seen
	for _, d := range devices {
		seen = append(seen, look(t, d))
	}
	l, err := Arrange(w, seen)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// checkAll lets every file system's own program look at it.
func checkAll(t *testing.T, l Layout) {
	t.Helper()
	for _, m := range l.FileSystems() {
		switch m.FS {
		case "ext4":
			sh(t, "e2fsck", "-fn", m.Device)
		case "xfs":
			sh(t, "xfs_repair", "-n", m.Device)
		case "btrfs":
			sh(t, "btrfs", "check", "--readonly", m.Device)
		case "vfat":
			sh(t, "fsck.vfat", "-n", m.Device)
		}
		if got := sh(t, "blkid", "-p", "-o", "value", "-s", "UUID", m.Device); got != m.UUID {
			t.Errorf("%s: blkid says %s, the layout %s", m.Device, got, m.UUID)
		}
		if got := sh(t, "blockdev", "--getsize64", m.Device); got != fmt.Sprint(m.Bytes) {
			t.Errorf("%s: the kernel says %s bytes, the layout %d", m.Device, got, m.Bytes)
		}
	}
}

func TestRun(t *testing.T) {
	device, file := loop(t, gib)
	l := arrange(t, everything(device), device)
	if s := l.State(); s != Nothing {
		t.Fatalf("an empty disk is %v", s)
	}
	told := 0
	stages, err := Doer{Watch: func(ore.Event) { told++ }}.Run(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if len(stages) != len(Plan(l)) || told != len(stages)+1 {
		t.Errorf("%d actions, %d timed, %d told", len(Plan(l)), len(stages), told)
	}
	checkAll(t, l)
	if out := sh(t, "sfdisk", "--verify", device); !strings.Contains(out, "No errors detected") {
		t.Error(out)
	}
	if out := sh(t, "sgdisk", "--verify", file); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	again := arrange(t, everything(device), device)
	if s := again.State(); s != Formatted {
		t.Errorf("after all it is %v", s)
	}
	if err := again.Finish(); err != nil {
		t.Fatal(err)
	}
	again = arrange(t, everything(device), device)
	if s := again.State(); s != Installed {
		t.Errorf("after the end it is %v", s)
	}
	if _, err := (Doer{}).Run(t.Context(), again); err == nil || !strings.Contains(err.Error(), "a machine is installed there (5 partitions (vfat \"EFI\", ext4, xfs, swap, btrfs))") {
		t.Errorf("an installed machine: %v", err)
	}
}

// Nothing is discarded: a file that has all its blocks keeps them but for a few that
// the programs have cleared.
func TestNothingIsDiscarded(t *testing.T) {
	device, file := loop(t, gib)
	sh(t, "fallocate", "-l", itoa(gib), file)
	l := arrange(t, everything(device), device)
	if _, err := (Doer{}).Run(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	if holes := gib - st.Blocks*512; holes > 16*mib {
		t.Errorf("%d MiB of the disk were discarded", holes/mib)
	}
}

func TestRunMBR(t *testing.T) {
	device, _ := loop(t, gib, "--sector-size", "4096")
	w := everything(device)
	w.Firmware, w.Storage.Disks[0].Table = BIOS, ore.MBR
	l := arrange(t, w, device)
	if _, err := (Doer{}).Run(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	checkAll(t, l)
	if out := sh(t, "sfdisk", "--verify", device); !strings.Contains(out, "No errors detected") {
		t.Error(out)
	}
	if s := arrange(t, w, device).State(); s != Formatted {
		t.Errorf("after all it is %v", s)
	}
}

// Power is lost after each action, and at random moments within the writes of
// each: the disk is never taken for whole, is never foreign to the next run, and
// ends as it should.
func TestPowerLoss(t *testing.T) {
	device, file := loop(t, gib)
	w := everything(device)
	seed := rand.Int63()
	t.Log("seed", seed)
	random := rand.New(rand.NewSource(seed))
	rounds := len(Plan(arrange(t, w, device)))
	for cut := range rounds {
		l := arrange(t, w, device)
		if cut == 0 && l.State() != Nothing {
			t.Fatal("not empty")
		}
		plan := Plan(l)
		for _, a := range plan[:cut] {
			if err := (Doer{}).act(t.Context(), l, a); err != nil {
				t.Fatalf("%s: %v", a.Does, err)
			}
		}
		before := head(t, file)
		if err := (Doer{}).act(t.Context(), l, plan[cut]); err != nil {
			t.Fatal(err)
		}
		if cut < len(plan)-1 {
			after := head(t, file)
			cutAt, order := random.Intn(5), flushes(plan[cut], l)
			tear(t, device, before, func(at int64) bool {
				return string(before[at]) != string(after[at]) && (order(at) > cutAt || order(at) == cutAt && random.Intn(2) == 0)
			})
		}
		after := arrange(t, w, device)
		if s := after.State(); s >= Formatted && cut < len(plan)-1 {
			t.Errorf("cut off in %q it is %v", plan[cut].Does, s)
		}
		if err := after.Refuse(); err != nil {
			t.Errorf("cut off in %q: %v", plan[cut].Does, err)
		}
		if cut%4 != 0 { // each round begins where the one before was cut off, or with a whole run
			continue
		}
		if _, err := (Doer{}).Run(t.Context(), after); err != nil {
			t.Errorf("after %q: %v", plan[cut].Does, err)
		}
	}
	l := arrange(t, w, device)
	if _, err := (Doer{}).Run(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	checkAll(t, l)
}

// head is what the actions of this package write to: both ends of the disk.
func head(t *testing.T, file string) map[int64][]byte {
	t.Helper()
	sh(t, "sync", file)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sectors := map[int64][]byte{}
	for _, from := range []int64{0, gib - mib} {
		b := make([]byte, mib)
		if _, err := f.ReadAt(b, from); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		for o := int64(0); o < mib; o += 512 {
			sectors[from+o] = b[o : o+512]
		}
	}
	return sectors
}

// tear puts back a random part of the sectors that an action changed, as a disk
// may not have written them when the power failed: in any order between two
// flushes, and in the order of the flushes else.
func tear(t *testing.T, device string, before map[int64][]byte, lost func(at int64) bool) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at, b := range before {
		if !lost(at) {
			continue
		}
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := settle(f); err != nil {
		t.Fatal(err)
	}
}

// flushes says between which flushes an action writes a sector.
func flushes(a Action, l Layout) func(at int64) int {
	last := l.Disks[0].Size - 512
	switch a.do {
	case erase:
		return func(at int64) int {
			if i := slices.Index([]int64{0, 512, last}, at); i >= 0 {
				return i
			}
			return 3
		}
	case writeTable:
		return func(at int64) int {
			for i, b := range l.Disks[0].Table.Blocks() {
				if at >= b.Offset && at < b.Offset+int64(len(b.Data)) {
					return i
				}
			}
			return 0
		}
	}
	return func(int64) int { return 0 }
}

// Who has a partition open for a moment, as udev's and LVM's programs do, is waited
// for.
func TestWhoLooksIsWaitedFor(t *testing.T) {
	device, _ := loop(t, gib)
	l := arrange(t, everything(device), device)
	if _, err := (Doer{}).Run(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(device + "p1")
	if err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(5*busyEvery, func() { f.Close() }).Stop()
	if _, err := (Doer{}).Run(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	checkAll(t, l)
}

// A mark of an earlier run does not make another system's disk ours.
func TestAnotherSystemIsNotOurs(t *testing.T) {
	device, _ := loop(t, gib)
	l := arrange(t, everything(device), device)
	for _, a := range Plan(l)[:4] {
		if err := (Doer{}).act(t.Context(), l, a); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("sfdisk", "-q", "--wipe", "never", device)
	c.Stdin = strings.NewReader("label: gpt\nsize=100M\n")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := tell(f, unix.BLKPG_ADD_PARTITION, unix.BlkpgPartition{Pno: 1, Start: mib, Length: 100 * mib}); err != nil && !errors.Is(err, unix.EBUSY) { // some kernels have seen it already
		t.Fatal(err)
	}
	sh(t, "mkfs.ext4", "-q", "-F", "-L", "theirs", device+"p1")
	l = arrange(t, everything(device), device)
	if err := l.Refuse(); err == nil || !strings.Contains(err.Error(), `it holds 1 partition (ext4 "theirs"): set wipe: true`) {
		t.Error(err)
	}
	l.Disks[0].Wipe = true
	if _, err := (Doer{}).Run(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	checkAll(t, l)
}

func TestForeignDataStays(t *testing.T) {
	device, file := loop(t, 64*mib)
	sh(t, "mkfs.ext4", "-q", "-F", "-L", "photos", device)
	before := sh(t, "sha256sum", file)
	w := Wish{Storage: one(rest("ext4", "/"))}
	w.Storage.Disks[0].Match.Path = device
	l := arrange(t, w, device)
	if _, err := (Doer{}).Run(t.Context(), l); err == nil || !strings.Contains(err.Error(), `it holds ext4 "photos": set wipe: true`) {
		t.Error(err)
	}
	if after := sh(t, "sha256sum", file); before != after {
		t.Error("something was written")
	}
	w.Storage.Disks[0].Wipe = true
	l = arrange(t, w, device)
	if _, err := (Doer{}).Run(t.Context(), l); err != nil {
		t.Error(err)
	}
	checkAll(t, l)
}

func TestReadOnlyAndBusy(t *testing.T) {
	device, file := loop(t, gib)
	readOnly := attach(t, file, "-r")
	l := arrange(t, everything(readOnly), readOnly)
	if _, err := (Doer{}).Run(t.Context(), l); err == nil || !strings.Contains(err.Error(), "it is read-only: remove its write protection") {
		t.Error(err)
	}
	sh(t, "mkfs.ext4", "-q", "-F", device)
	at := t.TempDir()
	sh(t, "mount", device, at)
	defer sh(t, "umount", at)
	w := everything(device)
	w.Storage.Disks[0].Wipe = true
	if _, err := (Doer{}).Run(t.Context(), arrange(t, w, device)); err == nil || !strings.Contains(err.Error(), "it is in use, mounted on "+at) {
		t.Error(err)
	}
}

// A disk that stops taking writes fails the action in which it does, and is
// never taken for whole.
func TestFailingWrites(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	sh(t, "mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", dir)
	t.Cleanup(func() { sh(t, "umount", dir) })
	file := filepath.Join(dir, "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, gib); err != nil {
		t.Fatal(err)
	}
	device := attach(t, file)
	_, err := (Doer{}).Run(t.Context(), arrange(t, everything(device), device))
	if err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("got %v", err)
	}
	if s := arrange(t, everything(device), device).State(); s != Begun {
		t.Errorf("state %v", s)
	}
}

// A program that says it did what it did not is found out, and one that fails
// or is cut off leaves a disk that is begun.
func TestProgramsThatFail(t *testing.T) {
	device, _ := loop(t, gib)
	l := arrange(t, everything(device), device)
	liar := Doer{Command: func(context.Context, []string) ([]byte, error) { return nil, nil }}
	if _, err := liar.Run(t.Context(), l); err == nil || !strings.Contains(err.Error(), "it reads back as") {
		t.Errorf("got %v", err)
	}
	failing := Doer{Command: func(context.Context, []string) ([]byte, error) {
		return []byte("no\nspace"), errors.New("exit status 1")
	}}
	if _, err := failing.Run(t.Context(), l); err == nil || !strings.Contains(err.Error(), "exit status 1: no space: the disk may be broken") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancelling := Doer{Watch: func(e ore.Event) {
		if e.Stage == "format" {
			cancel()
		}
	}}
	if _, err := cancelling.Run(ctx, l); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	l = arrange(t, everything(device), device)
	if l.State() != Begun || l.Disks[0].Holds.Table == nil || l.Disks[0].Holds.Table.Kind != table.GPT {
		t.Errorf("state %v", l.State())
	}
}
