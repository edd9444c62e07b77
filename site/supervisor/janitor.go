package supervisor

import (
	"io"
	"os/exec"
	"path/filepath"
	"syscall"
)

// janitor is a small process that removes a job's folder when this process
// dies without having said that it was here to the end. The supervisor cannot
// do that: it is killed in the same moment. It is a shell, since it has to wait
// and remove and nothing else.
type janitor struct {
	cmd *exec.Cmd
	say io.WriteCloser
}

// janitorScript waits for a line. At the end of the input without one it
// removes the folder, again for as long as somebody who is dying makes files.
// The folder is the one in which it has stood from the start: another may have
// its path by now, of which it touches nothing.
const janitorScript = `trap '' INT TERM HUP
read -r over && exit 0
n=0
while [ "$1" -ef . ] && [ $n -lt 100 ]; do
	rm -rf -- ./* ./.[!.]* 2>/dev/null && rmdir -- "$1" 2>/dev/null && break
	n=$((n + 1)); sleep 0.1
done`

// watchOver starts a janitor for the folder dir.
func watchOver(dir string) (*janitor, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", "-c", janitorScript, "ore-janitor", path)
	cmd.Dir = path
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	say, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &janitor{cmd: cmd, say: say}, nil
}

// dismiss sends the janitor home: the folder is its owner's to remove.
func (j *janitor) dismiss() error {
	if _, err := io.WriteString(j.say, "over\n"); err != nil {
		// It was killed: nobody will do its work now, and nobody needs to.
		j.say.Close()
		_ = j.cmd.Wait()
		return nil
	}
	j.say.Close()
	return j.cmd.Wait()
}
