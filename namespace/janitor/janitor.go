// Package janitor removes what a process leaves when it is killed: SIGKILL gives
// nobody time to tidy up, so somebody else has to.
//
// A janitor is a small process beside the one that it serves. It waits at the end
// of a pipe: a line says that its service is over, the pipe's end without one that
// the other died. It is a shell, since it has to wait and remove and nothing else.
package janitor

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Janitor is one that waits.
type Janitor struct {
	cmd *exec.Cmd
	say io.WriteCloser
}

// Folder is what a janitor removes.
type Folder struct {
	Path string
	Lock string // a file that goes after the folder, "" for none
	// Environ, if not nil, is the environment with which this program, started
	// again without arguments, removes what a shell cannot: files of other
	// users' that this one may become.
	Environ []string
}

// script waits for a line. At the end of the input without one it removes the
// folder, again for as long as somebody who is dying makes files. The folder is
// the one in which it has stood from the start: another may have its path by now,
// of which it touches nothing. The program is known by its descriptor, since the
// file that it came from may be gone.
const script = `trap '' INT TERM HUP
read -r over && exit 0
n=0
while [ "$1" -ef . ] && [ $n -lt 100 ]; do
	rm -rf -- ./* ./.[!.]* 2>/dev/null && rmdir -- "$1" 2>/dev/null && break
	[ "$3" = program ] && /proc/self/fd/3 2>/dev/null
	n=$((n + 1)); [ -e "$1" ] && sleep 0.1
done
[ -e "$1" ] || [ -z "$2" ] || rm -f -- "$2"`

// Watch starts a janitor for a folder.
func Watch(f Folder) (*Janitor, error) {
	path, err := filepath.Abs(f.Path)
	if err != nil {
		return nil, err
	}
	lock := f.Lock
	if lock != "" {
		if lock, err = filepath.Abs(lock); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command("/bin/sh", "-c", script, "ore-janitor", path, lock)
	cmd.Dir = path
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if f.Environ != nil {
		self, err := os.Open("/proc/self/exe")
		if err != nil {
			return nil, err
		}
		defer self.Close()
		cmd.Args, cmd.Env, cmd.ExtraFiles = append(cmd.Args, "program"), f.Environ, []*os.File{self}
	}
	say, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &Janitor{cmd: cmd, say: say}, nil
}

// Dismiss sends the janitor home: the folder is its owner's to remove.
func (j *Janitor) Dismiss() error {
	if _, err := io.WriteString(j.say, "over\n"); err != nil {
		// It was killed: nobody will do its work now, and nobody needs to.
		j.say.Close()
		_ = j.cmd.Wait()
		return nil
	}
	j.say.Close()
	return j.cmd.Wait()
}
