package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"ore/install/sandbox/confine"
	"ore/namespace"

	"golang.org/x/sys/unix"
)

// resolvConf is where programs find the name servers, relative to the root.
const resolvConf = "etc/resolv.conf"

// devSize bounds the memory behind a Run's /dev, which holds names only.
const devSize = "size=1m"

// stage is the first process of a Run: it makes the tree its root, starts the
// program and stays to supervise it. When it ends the kernel kills the rest.
func stage() error {
	syscall.CloseOnExec(controlFile)
	syscall.CloseOnExec(tableFile)
	control := os.NewFile(controlFile, "control")
	var o order
	if err := json.NewDecoder(control).Decode(&o); err != nil {
		return fmt.Errorf("stage: read order: %w", err)
	}
	out, err := o.perform()
	if err != nil {
		out.Error = err.Error()
	}
	if err := json.NewEncoder(control).Encode(out); err != nil {
		return fmt.Errorf("stage: tell outcome: %w", err)
	}
	return nil
}

func (o order) perform() (outcome, error) {
	if err := o.enterTree(); err != nil {
		return outcome{}, err
	}
	unix.Umask(0o022)
	program, err := o.find()
	if err != nil {
		return outcome{}, err
	}
	ended := make(chan error, 1)
	var state *os.ProcessState
	go func() {
		p, err := o.launch(program)
		if err == nil {
			state, err = p.Wait()
		}
		ended <- err
	}()
	if err := <-ended; err != nil {
		return outcome{}, err
	}
	ws := state.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return outcome{Signal: int(ws.Signal())}, nil
	}
	return outcome{Code: ws.ExitStatus()}, nil
}

// find looks the program up in the tree, with the PATH that it will have.
func (o order) find() (string, error) {
	for _, e := range o.Env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			os.Setenv("PATH", v)
		}
	}
	if o.Dir != "" {
		if err := os.Chdir(o.Dir); err != nil {
			return "", err
		}
	}
	program, err := exec.LookPath(o.Args[0])
	if err != nil {
		return "", err
	}
	return filepath.Abs(program)
}

// launch starts the program from a thread that has taken on the filter, which
// a process inherits from the thread that forks it. The thread is never used
// for anything else and ends with its goroutine.
func (o order) launch(program string) (*os.Process, error) {
	runtime.LockOSThread()
	if err := clearGroups(o.Tier); err != nil {
		return nil, err
	}
	begin, err := o.supervise()
	if err != nil {
		return nil, err
	}
	if err := confine.DropCapabilities(); err != nil {
		return nil, err
	}
	p, err := os.StartProcess(program, o.Args, &os.ProcAttr{
		Env:   append([]string{}, o.Env...),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, err
	}
	return p, begin()
}

// clearGroups drops the supplementary groups of whoever started us: root in a
// tree has none. With a single id the kernel refuses, and the supervisor
// answers for it.
func clearGroups(t Tier) error {
	if t == Single {
		return nil
	}
	if err := unix.Setgroups(nil); err != nil {
		return fmt.Errorf("drop groups: %w", err)
	}
	return nil
}

// enterTree makes the tree the root folder of this process and its descendants,
// with what every program expects mounted in it.
func (o order) enterTree() error {
	root := o.Root
	if err := unix.Mount(root, root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", root, err)
	}
	if err := confine.Restrict(root, unix.MS_NODEV); err != nil {
		return err
	}
	if err := namespace.MountProc(filepath.Join(root, "proc")); err != nil {
		return err
	}
	if err := confine.ProtectProc(filepath.Join(root, "proc")); err != nil {
		return err
	}
	if err := fillDev(filepath.Join(root, "dev")); err != nil {
		return fmt.Errorf("make /dev: %w", err)
	}
	if err := o.Instead.Mount(root); err != nil {
		return err
	}
	if o.Network {
		if err := lendResolver(root); err != nil {
			return err
		}
	}
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter %s: %w", root, err)
	}
	// The old root comes to lie on top of the new one and is taken off it
	// (pivot_root(2), "pivot_root(".", ".")").
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("make %s the root: %w", root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return unix.Chdir("/")
}

// fillDev mounts the few devices that programs may count on (FHS 3.0, 6.1.3).
func fillDev(dev string) error {
	if err := unix.Mount("dev", dev, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755,"+devSize); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := copyDevice("/dev/"+name, filepath.Join(dev, name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, l := range [][2]string{
		{"pts/ptmx", "ptmx"}, {"/proc/self/fd", "fd"},
		{"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
	} {
		if err := os.Symlink(l[0], filepath.Join(dev, l[1])); err != nil {
			return err
		}
	}
	const quiet = unix.MS_NOSUID | unix.MS_NOEXEC
	for _, m := range []struct{ kind, name, options string }{
		{"devpts", "pts", "newinstance,ptmxmode=0666,mode=620"},
		{"tmpfs", "shm", "mode=1777"},
	} {
		p := filepath.Join(dev, m.name)
		if err := os.Mkdir(p, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, p, m.kind, quiet, m.options); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return confine.Restrict(dev, unix.MS_NODEV)
}

// copyDevice makes another node for a device of the host or, for an ordinary
// user, who can make none, binds the host's, which such a user can not change.
// Either is a mount of its own, and stays a device when those that programs make
// beside it are none.
func copyDevice(host, path string) error {
	var st unix.Stat_t
	if err := unix.Stat(host, &st); err != nil {
		return err
	}
	if unix.Mknod(path, unix.S_IFCHR|0o666, int(st.Rdev)) == nil {
		if err := unix.Chmod(path, 0o666); err != nil {
			return err
		}
		return unix.Mount(path, path, "", unix.MS_BIND, "")
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return err
	}
	return unix.Mount(host, path, "", unix.MS_BIND, "")
}

// lendResolver shows the tree the host's name servers for the time of a Run. A
// tree whose resolv.conf leads nowhere keeps it so.
func lendResolver(root string) error {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to, err := unix.Openat2(fd, resolvConf, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT,
	})
	if err != nil {
		return nil
	}
	defer unix.Close(to)
	err = unix.Mount("/"+resolvConf, fmt.Sprintf("/proc/self/fd/%d", to), "", unix.MS_BIND, "")
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("lend %s: %w", resolvConf, err)
	}
	return nil
}
