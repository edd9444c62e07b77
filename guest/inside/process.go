package inside

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ore/guest/wire"
)

// The exit codes of shells for commands that could not be run (POSIX, Shell
// Command Language 2.8.2), and for those that a signal ended.
const (
	codeNotFound      = 127
	codeNotExecutable = 126
	codeSignal        = 128
)

// emptyPoll is how often a group of processes that was told to end is looked
// at: seldom enough to cost nothing, often enough that nobody waits for it.
const emptyPoll = 20 * time.Millisecond

// process is a running command with all that came of it.
type process struct {
	pid    int
	group  *group
	status <-chan unix.WaitStatus
}

// notRun says that a command could not be started, by the command's own fault.
type notRun struct {
	code int
	text string
}

func (n *notRun) Error() string { return n.text }

// spawn starts p with the given files as 0, 1 and 2.
func (s *server) spawn(p plan, files [3]*os.File) (*process, error) {
	path, err := p.find()
	if err != nil {
		return nil, err
	}
	cred, err := p.who.credential()
	if err != nil {
		return nil, err
	}
	g, err := s.cgroups.group(p.pids)
	if err != nil {
		return nil, err
	}
	sys := &syscall.SysProcAttr{Setsid: true, Credential: cred, Setctty: p.tty}
	if g != nil {
		sys.UseCgroupFD, sys.CgroupFD = true, g.fd
	}
	attr := &syscall.ProcAttr{Dir: p.dir, Env: p.env, Sys: sys}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	pid, status, err := s.reaper.start(path, p.argv, attr, s.exposed)
	if err != nil {
		g.close()
		return nil, startFault(p.argv[0], err)
	}
	return &process{pid: pid, group: g, status: status}, nil
}

func startFault(name string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT): // its interpreter
		return &notRun{codeNotFound, name + ": its interpreter is not there"}
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.E2BIG), errors.Is(err, unix.ENOTDIR):
		return &notRun{codeNotExecutable, name + ": " + err.Error()}
	}
	return fmt.Errorf("start %s: %w", name, err)
}

// signal sends sig to all processes of the command.
func (p *process) signal(sig unix.Signal) {
	if p.group != nil {
		p.group.signal(sig)
		return
	}
	unix.Kill(-p.pid, sig)
}

// empty reports whether nothing of the command is left.
func (p *process) empty() bool {
	if p.group != nil {
		return p.group.empty()
	}
	return errors.Is(unix.Kill(-p.pid, 0), unix.ESRCH)
}

// waitEmpty waits until nothing of the command is left, or stop is closed.
func (p *process) waitEmpty(stop <-chan struct{}) {
	tick := time.NewTicker(emptyPoll)
	defer tick.Stop()
	for !p.empty() {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// exitOf translates the kernel's word on a process.
func exitOf(w unix.WaitStatus) wire.Exit {
	if w.Signaled() {
		name := unix.SignalName(w.Signal())
		if name == "" {
			name = fmt.Sprintf("SIG%d", int(w.Signal()))
		}
		return wire.Exit{Code: codeSignal + int(w.Signal()), Signal: name}
	}
	return wire.Exit{Code: w.ExitStatus()}
}

// plan is a command made ready for its start.
type plan struct {
	argv []string
	env  []string
	dir  string
	who  account
	tty  bool
	pids int
}

// find looks the program up as execvp(3) does, in the command's own PATH.
func (p plan) find() (string, error) {
	name := p.argv[0]
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(p.dir, name)
		}
		return name, executable(name)
	}
	var denied error
	for dir := range strings.SplitSeq(lookupEnv(p.env, "PATH"), ":") {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(p.dir, dir)
		}
		file := filepath.Join(dir, name)
		err := executable(file)
		if err == nil {
			return file, nil
		}
		var n *notRun
		if errors.As(err, &n) && n.code == codeNotExecutable {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &notRun{codeNotFound, name + ": not found"}
}

func executable(file string) error {
	fi, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return &notRun{codeNotFound, file + ": not found"}
	case err != nil:
		return &notRun{codeNotExecutable, err.Error()}
	case fi.IsDir():
		return &notRun{codeNotExecutable, file + ": is a folder"}
	case fi.Mode()&0o111 == 0:
		return &notRun{codeNotExecutable, file + ": permission denied"}
	}
	return nil
}

func lookupEnv(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], name+"="); ok {
			return v
		}
	}
	return ""
}
