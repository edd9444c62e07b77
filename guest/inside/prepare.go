package inside

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ore/guest/wire"
)

// basePath is Debian's PATH for root, and the launcher after all else, so that
// an image's own ssh comes before ours.
const basePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxPids is the kernel's own limit of processes (PID_MAX_LIMIT, proc(5)).
const maxPids = 1 << 22

// prepare turns a request into what can be started. The function that it
// returns removes what was made for it.
func (s *server) prepare(q wire.Request) (plan, func(), error) {
	none := func() {}
	who, err := lookup(q.User)
	if err != nil {
		return plan{}, none, err
	}
	p := plan{who: who, tty: q.TTY != nil, pids: min(max(q.Pids, 0), maxPids)}
	if p.dir, err = s.workDir(q.Dir); err != nil {
		return plan{}, none, err
	}
	p.env = s.environment(who, q)
	for name, value := range q.Secrets {
		file, err := s.secret(who, name, value)
		if err != nil {
			return plan{}, none, err
		}
		p.env = append(p.env, name+"="+file, name+"_FILE="+file)
	}
	p.env = lastOfEach(p.env)
	p.argv = q.Args
	if q.Script == "" {
		if len(q.Args) == 0 {
			return plan{}, none, errors.New("exec: neither a command nor a script")
		}
		return p, none, nil
	}
	file, err := s.script(who, q)
	if err != nil {
		return plan{}, none, err
	}
	if strings.HasPrefix(q.Script, "#!") {
		p.argv = append([]string{file}, q.Args...)
	} else {
		p.argv = append([]string{"/bin/sh", file}, q.Args...)
	}
	return p, func() { os.Remove(file) }, nil
}

// workDir resolves a request's folder; the job's own is always there.
func (s *server) workDir(dir string) (string, error) {
	dir = s.layout.resolve(dir)
	if dir == s.layout.Job {
		return dir, s.layout.makeJob()
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("work folder: %w", err)
	}
	if !fi.IsDir() {
		return "", fmt.Errorf("work folder %s: not a folder", dir)
	}
	return dir, nil
}

// environment is what every process finds, then what the request asks for.
func (s *server) environment(who account, q wire.Request) []string {
	env := []string{
		"PATH=" + basePath + ":" + filepath.Join(s.layout.Run, "bin"),
		"HOME=" + who.home, "USER=" + who.name, "LOGNAME=" + who.name, "SHELL=" + who.shell,
		"LANG=C.UTF-8", "HOSTNAME=" + s.identity.Name, launchVariable + "=" + s.layout.socketPath(),
	}
	if q.TTY != nil {
		env = append(env, "TERM=linux")
	}
	return append(append(env, s.launchers()...), q.Env...)
}

// lastOfEach keeps the last of several values of a variable: of two in one
// environment, some programs take the first and some the last.
func lastOfEach(env []string) []string {
	at := make(map[string]int)
	var kept []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			kept[i] = e
			continue
		}
		at[name] = len(kept)
		kept = append(kept, e)
	}
	return kept
}

// launchers tells MPI implementations what the machines are called and how to
// start a process on them. Without a control over MPI's own configuration
// files these variables are the way that both document: Open MPI's MCA
// parameters (mpirun(1)) and Hydra's (the MPICH user's guide).
func (s *server) launchers() []string {
	rsh := filepath.Join(s.layout.Run, "bin", "ore-rsh")
	return []string{
		"OMPI_MCA_plm_rsh_agent=" + rsh,
		"OMPI_MCA_orte_default_hostfile=" + filepath.Join(s.layout.Run, "hosts.openmpi"),
		"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
		// From version 5 on Open MPI's launcher is PRRTE, with names of its own.
		"PRTE_MCA_plm_ssh_agent=" + rsh,
		"PRTE_MCA_prte_default_hostfile=" + filepath.Join(s.layout.Run, "hosts.openmpi"),
		"HYDRA_LAUNCHER=ssh", "HYDRA_LAUNCHER_EXEC=" + rsh,
		"HYDRA_HOST_FILE=" + filepath.Join(s.layout.Run, "hosts.mpich"),
	}
}

// maxSecretName bounds a secret's name, which becomes a file's.
const maxSecretName = 128

// isVariable reports whether name can be a variable's in a shell.
func isVariable(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || (c|0x20 >= 'a' && c|0x20 <= 'z')
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && len(name) <= maxSecretName
}

// secret writes a secret to memory, for one user's eyes. A process that has
// the former file open keeps it.
func (s *server) secret(who account, name string, value []byte) (string, error) {
	if !isVariable(name) {
		return "", fmt.Errorf("secret %q: a name has letters, digits and underscores", name)
	}
	return s.private(filepath.Join(s.layout.Run, "secrets", name), who, value, 0o400)
}

func (s *server) script(who account, q wire.Request) (string, error) {
	file := filepath.Join(s.layout.Run, "scripts", strconv.FormatUint(uint64(q.ID), 10))
	return s.private(file, who, []byte(q.Script), 0o500)
}

// private makes file whole, with one owner.
func (s *server) private(file string, who account, content []byte, mode os.FileMode) (string, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err == nil && os.Geteuid() == 0 {
		err = f.Chown(int(who.uid), int(who.gid))
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("write %s: %w", file, err)
	}
	return file, nil
}
