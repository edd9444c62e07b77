package main

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// facts are what a reader must know of where something was measured.
type facts struct {
	Begun     time.Time
	Rounds    int
	Cores     int
	Processor string
	Kernel    string
	Memory    int64  // bytes
	Folder    string // where everything was made, with its file system
	User      string
	Versions  map[string]string
}

// facts finds out where this runs.
func (b *bench) facts(ctx context.Context) facts {
	f := facts{Begun: time.Now(), Rounds: b.rounds, Cores: runtime.NumCPU(), Versions: map[string]string{}}
	f.Processor = field("/proc/cpuinfo", "model name")
	f.Kernel = strings.TrimSpace(read("/proc/sys/kernel/osrelease"))
	if kb, _, ok := strings.Cut(field("/proc/meminfo", "MemTotal"), " "); ok {
		n, _ := strconv.ParseInt(kb, 10, 64)
		f.Memory = n << 10
	}
	f.Folder = b.dir + " (" + fileSystem(b.dir) + ")"
	f.User = "uid " + strconv.Itoa(b.account.uid) + ", peers that build as uid " + strconv.Itoa(os.Geteuid())
	for name, args := range map[string][]string{
		"ore": {b.ore, "version"}, "mmdebstrap": {"mmdebstrap", "--version"}, "linux.uml": {"linux.uml", "--version"},
		"mksquashfs": {"mksquashfs", "-version"}, "busybox": {"busybox"},
	} {
		// A program that is not there is missed where it is used.
		out, _ := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		f.Versions[name], _, _ = strings.Cut(string(out), "\n")
	}
	return f
}

func read(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(text)
}

// field returns a value of a file of lines like "name: value" (proc(5)).
func field(file, name string) string {
	for line := range strings.Lines(read(file)) {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(n) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// fileSystem names the file system that dir is on.
func fileSystem(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return "unknown file system"
	}
	switch st.Type {
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	}
	return "file system " + strconv.FormatInt(int64(st.Type), 16)
}

// load is the load average of the last minute.
func load() float64 {
	first, _, _ := strings.Cut(read("/proc/loadavg"), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}

// ticksASecond is the unit of /proc/stat on every Linux that Go runs on.
const ticksASecond = 100

// busy is the CPU time that the whole machine has spent so far: everything in
// the first line of /proc/stat but idle and waiting.
func busy() time.Duration {
	line, _, _ := strings.Cut(read("/proc/stat"), "\n")
	var sum int64
	for i, w := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		n, _ := strconv.ParseInt(w, 10, 64)
		sum += n
	}
	return time.Duration(sum) * time.Second / ticksASecond
}
