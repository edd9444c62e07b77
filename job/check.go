package job

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ore"
)

// Check says what about j as a whole cannot be: values out of range, parts
// that exclude each other, host files that are not there. run says whether the
// job is to be run, and so needs a command. Errors have the form what failed:
// why: what to do.
func Check(j ore.Job, run bool) error {
	for _, check := range []func(ore.Job) error{checkBase, checkMachines, checkRoot, checkInputs, checkMounts, checkFiles, checkNames, checkVariables} {
		if err := check(j); err != nil {
			return err
		}
	}
	if run {
		return checkRun(j.Run)
	}
	return nil
}

func checkMachines(j ore.Job) error {
	m := j.Machines
	switch {
	case m.Count < 1 || m.Count > MaxMachines:
		return fmt.Errorf("machines: count is %d: use 1 to %d", m.Count, MaxMachines)
	case m.CPUs < 1 || m.CPUs > MaxCPUs:
		return fmt.Errorf("machines: cpus is %d: use 1 to %d", m.CPUs, MaxCPUs)
	case m.Memory < MinMemory || m.Memory > MaxMemory:
		return fmt.Errorf("machines: memory is %s: use %s to %s", FormatSize(m.Memory), FormatSize(MinMemory), FormatSize(MaxMemory))
	case m.Disk < MinDisk || m.Disk > MaxDisk:
		return fmt.Errorf("machines: disk is %s: use %s to %s", FormatSize(m.Disk), FormatSize(MinDisk), FormatSize(MaxDisk))
	case !slices.Contains(Hypervisors, m.Hypervisor):
		return fmt.Errorf("machines: hypervisor is %q: use one of %s", m.Hypervisor, strings.Join(Hypervisors, ", "))
	case m.Hypervisor == "uml" && m.CPUs > 1:
		return fmt.Errorf("machines: %d CPUs: User Mode Linux has one: use cpus: 1, or hypervisor: qemu", m.CPUs)
	}
	for _, p := range j.Run.Publish {
		if p.Rank >= m.Count {
			return fmt.Errorf("publish %s: there is no rank %d: the last one is %d", p.Listen, p.Rank, m.Count-1)
		}
	}
	return nil
}

func notThere(what, path string, err error) error {
	return fmt.Errorf("%s %s: %w: correct the path or make the file", what, path, cause(err))
}

// checkFiles looks whether the host files that a job names are there, so that
// a misspelt name costs no build.
func checkFiles(j ore.Job) error {
	for _, f := range j.Wants.Files {
		if f.Source != "" {
			if _, err := os.Stat(f.Source); err != nil {
				return notThere("file source", f.Source, err)
			}
		}
	}
	return checkPlaces(j.Wants.Files)
}

// cause leaves out of an error which file it is about, where that is said.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// inMemory are folders that a machine mounts something over, and standing those
// that every Debian system has (file-hierarchy(7)).
var (
	inMemory = [...]string{"/dev", "/proc", "/sys", "/run"}
	standing = [...]string{"/bin", "/boot", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/root", "/sbin", "/srv", "/tmp", "/usr", "/var",
		"/etc/apt", "/usr/bin", "/usr/lib", "/usr/local", "/usr/sbin", "/usr/share", "/var/cache", "/var/lib", "/var/log", "/var/tmp"}
)

// checkPlaces refuses files where none can be, before anything is built. The
// files come sorted by path.
func checkPlaces(files []ore.File) error {
	content := map[string]bool{}
	for _, f := range files {
		for _, d := range inMemory {
			if f.Path == d || strings.HasPrefix(f.Path, d+"/") {
				return fmt.Errorf("file %s: a machine has %s in memory, over what an image has there: use another path", f.Path, d)
			}
		}
		if info, err := os.Stat(f.Source); f.Source != "" && err == nil && info.IsDir() {
			continue // it is merged into the folder
		}
		if slices.Contains(standing[:], f.Path) {
			return fmt.Errorf("file %s: this is a folder of every machine: name a file in it", f.Path)
		}
		for d := filepath.Dir(f.Path); d != "/" && d != "."; d = filepath.Dir(d) {
			if content[d] {
				return fmt.Errorf("file %s: %s is to be a file, not a folder: change one of them", f.Path, d)
			}
		}
		content[f.Path] = true
	}
	return nil
}

// reservedSecrets are variables that a secret's path would make useless.
var reservedSecrets = []string{"PATH", "HOME", "USER", "SHELL"}

// maxSecret is what a secret may hold: it is kept in memory on its way.
const maxSecret = 512 << 10

func checkVariables(j ore.Job) error {
	for name := range j.Run.Env {
		if !variable(name) {
			return fmt.Errorf("variable %q: not a variable's name: use letters, digits and _, and no ORE_ before it", name)
		}
	}
	for name, s := range j.Run.Secrets {
		if !variable(name) || slices.Contains(reservedSecrets, name) || strings.HasPrefix(name, "LD_") {
			return fmt.Errorf("secret %q: not a name that a secret can have: use letters, digits and _, and neither ORE_ nor LD_ before it nor the name of a variable of the system", name)
		}
		info, err := os.Stat(s.File)
		if err != nil {
			return fmt.Errorf("secret %s %s: %w: correct the path or make the file", name, s.File, cause(err))
		}
		if t := info.Mode().Type(); t != 0 && t != fs.ModeNamedPipe || info.Size() > maxSecret {
			return fmt.Errorf("secret %s %s: not a file or pipe of at most %s: use one", name, s.File, FormatSize(maxSecret))
		}
	}
	return nil
}

func checkNames(j ore.Job) error {
	if !plainName(j.Name) {
		return fmt.Errorf("job name %q: malformed: use letters, digits, . _ -, at most %d", j.Name, MaxName)
	}
	for name := range j.Run.Env {
		if _, both := j.Run.Secrets[name]; both {
			return fmt.Errorf("variable %s: given by env and by secrets: use one", name)
		}
	}
	for _, o := range j.Run.Outputs {
		if !relativePattern(o) {
			return fmt.Errorf("output %q: not relative to the job's folder: use a pattern such as *.tsv", o)
		}
		if _, err := path.Match(o, ""); err != nil {
			return fmt.Errorf("output %q: not a pattern, a bracket is open or an escape ends it: use one such as *.tsv, or \\[ for the bracket itself", o)
		}
	}
	return nil
}

func checkRun(r ore.Run) error {
	switch {
	case len(r.Command) == 0 && r.Script == "":
		return fmt.Errorf("run: no command: give one after --, or run.command or run.script in the job file")
	case len(r.Command) > 0 && r.Script != "":
		return fmt.Errorf("run: command and script: use one of them")
	case len(r.Command) > 0 && r.Command[0] == "":
		return fmt.Errorf("run: the command's name is empty: name a program")
	case r.Timeout < 0 || r.Timeout > MaxTimeout:
		return fmt.Errorf("run: timeout is %v: use a time such as 90s or 2h, at most %v", r.Timeout, MaxTimeout)
	case r.Retries < 0 || r.Retries > MaxRetries:
		return fmt.Errorf("run: retries is %d: use 0 to %d", r.Retries, MaxRetries)
	case r.Mode == ore.Array && r.Tasks == (ore.Tasks{}):
		return fmt.Errorf("run: mode array without tasks: give --tasks or --task-files, or run.tasks with from or glob in the job file")
	case r.Mode != ore.Array && r.Tasks != (ore.Tasks{}):
		return fmt.Errorf("run: tasks with mode %s: use mode array", r.Mode)
	}
	return nil
}

// SortSteps returns the steps in the order of the graph: each after all that it
// needs, and otherwise as they came. It refuses unknown names, names given
// twice, and circles.
func SortSteps(steps []ore.Step) ([]ore.Step, error) {
	index := map[string]int{}
	for i, s := range steps {
		if _, twice := index[s.Name]; twice {
			return nil, fmt.Errorf("step %s: there are two of this name: rename one", s.Name)
		}
		index[s.Name] = i
	}
	const unseen, open, done = 0, 1, 2
	state := make([]int, len(steps))
	var sorted []ore.Step
	var visit func(i int) error
	visit = func(i int) error {
		switch state[i] {
		case open:
			return fmt.Errorf("step %s: it needs itself, through %s: remove one of these needs", steps[i].Name, strings.Join(steps[i].Needs, ", "))
		case done:
			return nil
		}
		state[i] = open
		for _, need := range steps[i].Needs {
			k, ok := index[need]
			if !ok {
				return fmt.Errorf("step %s: it needs %q, which is no step: name one of them", steps[i].Name, need)
			}
			if err := visit(k); err != nil {
				return err
			}
		}
		state[i] = done
		sorted = append(sorted, steps[i])
		return nil
	}
	for i := range steps {
		if err := visit(i); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}
