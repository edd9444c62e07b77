package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// first is what the first process of a host runs: a shell, since that needs
// nothing of who uses this package. The network namespace is there already. What
// the names of network namespaces hold on to is let go, so that another bed can
// go away while this one is there. The loop reaps orphans.
const first = `set -e
mount --make-rprivate /
umount -R -l /run/netns 2>/dev/null || :
mount -t proc -o nosuid,nodev,noexec proc /proc
hostname "$1"
mount --bind "$2/hosts" /etc/hosts
for p in $3; do mkdir -p "$2/disk/$1$p"; chown --reference="$p" "$2/disk/$1$p"; chmod --reference="$p" "$2/disk/$1$p"; mount --bind "$2/disk/$1$p" "$p"; done
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
mkdir -m 1777 /run/lock
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
echo ready
exec >/dev/null
trap 'exit 0' TERM
while :; do sleep 3600 & wait $!; done
`

// bootDeadline bounds how long a host's first process may take, which mounts a
// few things: far more than a busy host needs.
const bootDeadline = 30 * time.Second

// deathDeadline bounds how long the kernel may take to end a killed host.
const deathDeadline = 30 * time.Second

// boot starts the first process of host h. If own, it dies with this process.
func boot(ctx context.Context, s state, h *hostState, own bool) error {
	ctx, cancel := context.WithTimeout(ctx, bootDeadline)
	defer cancel()
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	dir := filepath.Join(root, s.Name)
	log, err := os.OpenFile(filepath.Join(dir, h.Name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		in.Close()
		return err
	}
	defer log.Close()
	cmd := exec.Command("nsenter", "--net="+filepath.Join(spaces, space(s.Name, h.Name)),
		"/bin/sh", "-c", first, "sh", h.Name, dir, strings.Join(s.Private, " "))
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", in, log
	cmd.Env = []string{"PATH=" + hostPath, "HOME=/root"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Setsid:     true,
	}
	if own {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	err = hold(cmd)
	in.Close()
	if err != nil {
		return fmt.Errorf("boot %s: %w", h.Name, err)
	}
	h.PID = cmd.Process.Pid
	if h.Start, err = startOf(h.PID); err != nil {
		return fmt.Errorf("boot %s: %w: see %s", h.Name, err, log.Name())
	}
	stop := context.AfterFunc(ctx, func() { out.SetReadDeadline(time.Now()) })
	defer stop()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		said, _ := os.ReadFile(log.Name())
		return errors.Join(fmt.Errorf("boot %s: its first process ended or hung: %w: %s", h.Name, err, lastLine(said)), h.kill())
	}
	return nil
}

// lastLine returns the last line of a log.
func lastLine(b []byte) string {
	s := strings.TrimSpace(string(b))
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// hostPath is where programs are found on a host.
const hostPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// hold starts cmd from a thread that stays until the process has ended, since
// the parent death signal is sent when that thread ends (prctl(2)), and waits for
// it, so that none is left as a zombie.
func hold(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	return <-started
}

// kill ends the host, and returns when nothing of it is left.
func (h *hostState) kill() error {
	if h.PID <= 0 {
		return nil
	}
	if _, err := end(h.PID, h.alive); err != nil {
		return fmt.Errorf("kill host %s: %w", h.Name, err)
	}
	return nil
}

// end kills a process if it is the one that is meant, which is asked while it
// cannot be replaced by another of its number, and waits for its end.
func end(pid int, meant func() bool) (bool, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, nil // it is gone
	}
	defer unix.Close(fd)
	if !meant() {
		return false, nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return false, fmt.Errorf("kill process %d: %w", pid, err)
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for until := time.Now().Add(deathDeadline); ; {
		n, err := unix.Poll(poll, max(0, int(time.Until(until)/time.Millisecond)))
		switch {
		case n > 0:
			return true, nil
		case err != nil && err != unix.EINTR:
			return true, fmt.Errorf("wait for process %d: %w", pid, err)
		case time.Now().After(until):
			return true, fmt.Errorf("wait for process %d: it did not end in %v", pid, deathDeadline)
		}
	}
}

// evictPasses is how often evict looks again: each pass ends all that it sees.
const evictPasses = 100

// evict ends all processes whose network namespace is one of those that the
// files name: also those of hosts whose maker was killed before it could write
// their numbers down.
func evict(files []string) error {
	var ours []os.FileInfo
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			ours = append(ours, st)
		}
	}
	for range evictPasses {
		found := false
		all, err := filepath.Glob("/proc/[0-9]*/ns/net")
		if err != nil {
			return err
		}
		for _, p := range all {
			pid, err := strconv.Atoi(strings.Split(p, "/")[2])
			if err != nil || pid == os.Getpid() {
				continue
			}
			inside := func() bool {
				st, err := os.Stat(p)
				return err == nil && slices.ContainsFunc(ours, func(o os.FileInfo) bool { return os.SameFile(o, st) })
			}
			if !inside() {
				continue
			}
			one, err := end(pid, inside)
			if err != nil {
				return err
			}
			found = found || one
		}
		if !found {
			return nil
		}
	}
	return fmt.Errorf("end what runs in %s: some of it is still there after %d passes", strings.Join(files, " "), evictPasses)
}

// Command returns a command that runs on a host as root, in the current folder
// if the host has it. When its process is killed, by the end of ctx too, so is
// the program.
func (b *Bed) Command(ctx context.Context, host string, args ...string) *exec.Cmd {
	return b.CommandAs(ctx, nil, host, args...)
}

// CommandAs is Command for a user; nil is root.
func (b *Bed) CommandAs(ctx context.Context, u *user.User, host string, args ...string) *exec.Cmd {
	s, err := read(b.dir)
	if err != nil {
		return broken(ctx, err)
	}
	h, err := s.host(host)
	if err != nil {
		return broken(ctx, err)
	}
	if !h.alive() {
		return broken(ctx, fmt.Errorf("host %s: it is off: 'ore testbed boot %s' turns it on", host, host))
	}
	line := []string{"-t", fmt.Sprint(h.PID), "--net", "--uts", "--ipc", "--pid", "--mount"}
	if dir, err := os.Getwd(); err == nil {
		// Through the host's own root: the folder may be another one there.
		if _, err := os.Stat(filepath.Join("/proc", fmt.Sprint(h.PID), "root", dir)); err == nil {
			line = append(line, "--wd="+filepath.Join("/proc", fmt.Sprint(h.PID), "root", dir))
		}
	}
	line = append(line, "--", "setpriv", "--pdeathsig", "KILL")
	path := hostPath
	if own := os.Getenv("PATH"); own != "" {
		path += ":" + own // what somebody can call here he can call there
	}
	env := []string{"PATH=" + path, "HOME=/root", "USER=root", "LOGNAME=root"}
	if u != nil {
		line = append(line, "--reuid", u.Uid, "--regid", u.Gid, "--init-groups")
		env = []string{"PATH=" + path, "HOME=" + u.HomeDir, "USER=" + u.Username, "LOGNAME=" + u.Username}
	}
	for _, name := range []string{"TERM", "LANG", "ORE_MIRROR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for k, v := range s.Env {
		env = append(env, k+"="+v)
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(append(line, "--"), args...)...)
	cmd.Env = env
	return cmd
}

// Sent returns how many bytes have left a host over its link, with all headers.
func (b *Bed) Sent(host string) (int64, error) {
	s, err := read(b.dir)
	if err != nil {
		return 0, err
	}
	h, err := s.host(host)
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(h.PID), "net/dev"))
	if err == nil {
		var n int64
		if n, err = transmitted(string(text), "eth0"); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("bytes sent by host %s: %w", host, err)
}

// transmitted takes out of proc(5)'s net/dev what an interface has sent: the ninth
// number of its line.
func transmitted(text, device string) (int64, error) {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); strings.TrimSpace(name) == device && len(f) > 8 {
			return strconv.ParseInt(f[8], 10, 64)
		}
	}
	return 0, fmt.Errorf("there is no link %s", device)
}

// broken is a command that cannot be started.
func broken(ctx context.Context, err error) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter")
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("the bed is gone: %w", err)
	}
	cmd.Err = err
	return cmd
}

// start runs what a host runs at boot, in order; each puts itself into the
// background.
func (b *Bed) start(ctx context.Context, host string, lines [][]string) error {
	for _, args := range lines {
		cmd := b.Command(ctx, host, args...)
		log, err := os.OpenFile(filepath.Join(b.dir, host+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		// What stays in the background holds the log, which is a file: nobody
		// waits for it to be closed.
		cmd.Stdout, cmd.Stderr = log, log
		err = cmd.Run()
		log.Close()
		if err != nil {
			return fmt.Errorf("start %s on %s: %w: see %s", args[0], host, err, log.Name())
		}
	}
	return nil
}
