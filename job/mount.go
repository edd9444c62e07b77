package job

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ore"
)

// jobFolder is where a machine has the job's folder.
const jobFolder = "/job"

// needed are folders that a machine does not run without, or that programs
// expect to write to.
var needed = [...]string{"/", jobFolder, "/bin", "/boot", "/etc", "/lib", "/lib64", "/root", "/sbin", "/tmp", "/usr", "/var",
	"/etc/apt", "/lib/modules", "/usr/bin", "/usr/lib", "/usr/lib/modules", "/usr/local", "/usr/sbin", "/usr/share",
	"/var/cache", "/var/lib", "/var/log", "/var/tmp"}

// unmountable says why nothing can be mounted at a path of a machine, "" if
// something can.
func unmountable(path string) string {
	switch {
	case !strings.HasPrefix(path, "/") || filepath.Clean(path) != path || strings.ContainsRune(path, 0):
		return "allowed is an absolute path without . or .."
	case slices.Contains(needed[:], path):
		return "a machine needs what is there: allowed is a path of its own, such as /data"
	}
	for _, d := range inMemory {
		if within(path, d) {
			return fmt.Sprintf("a machine has its own %s: allowed is another path, such as /data", d)
		}
	}
	return ""
}

// within says whether path is dir or lies below it.
func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// ParseMount reads what is mounted in the forms of other programs: SOURCE:PATH
// and SOURCE:PATH:ro, as podman(1) has for --volume and Singularity for --bind,
// and type=bind,source=SOURCE,target=PATH,readonly, as for --mount. The source
// is returned as it was given.
func ParseMount(s string) (ore.Input, error) {
	in, err := parseMount(s)
	if err != nil {
		return in, fmt.Errorf("mount %q: %w", s, err)
	}
	if why := unmountable(in.Mount); why != "" {
		return in, fmt.Errorf("mount %q: path %s: %s", s, in.Mount, why)
	}
	return in, nil
}

// errMountForm says what a mount looks like.
var errMountForm = errors.New("use SOURCE:PATH, such as ./db:/data/db")

func parseMount(s string) (ore.Input, error) {
	if strings.HasPrefix(s, "type=") {
		return parseMountWords(s)
	}
	rest, write := strings.CutSuffix(s, ":rw")
	if write {
		return ore.Input{}, errReadOnly
	}
	rest = strings.TrimSuffix(rest, ":ro")
	i := strings.LastIndex(rest, ":") // a host's path may have colons
	if i < 1 || i == len(rest)-1 {
		return ore.Input{}, errMountForm
	}
	return ore.Input{Source: rest[:i], Mount: rest[i+1:]}, nil
}

// errReadOnly says what a job does that wants to write.
var errReadOnly = errors.New("what is mounted is read-only: leave rw out, and bring home what the job writes as outputs")

func parseMountWords(s string) (ore.Input, error) {
	var in ore.Input
	for _, word := range strings.Split(s, ",") {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "type":
			if value != "bind" {
				return in, fmt.Errorf("type %q: use bind", value)
			}
		case "source", "src":
			in.Source = value
		case "target", "destination", "dst":
			in.Mount = value
		case "readonly", "ro":
			if value == "false" {
				return in, errReadOnly
			}
		default:
			return in, fmt.Errorf("%q: use source, target and readonly", name)
		}
	}
	if in.Source == "" || in.Mount == "" {
		return in, errors.New("use type=bind,source=SOURCE,target=PATH")
	}
	return in, nil
}

// checkInputs looks whether the inputs are there, and files or folders.
func checkInputs(j ore.Job) error {
	bases := map[string]string{}
	for _, in := range j.Run.Inputs {
		info, err := os.Stat(in.Source)
		if err != nil {
			return notThere("input", in.Source, err)
		}
		if !info.Mode().IsRegular() && !info.IsDir() {
			return fmt.Errorf("input %s: a %s: use a file or folder, or give it to the job's standard input", in.Source, typeName(info.Mode().Type()))
		}
		if in.Mount != "" {
			continue
		}
		if err := sendable(in.Source); err != nil {
			return err
		}
		b := filepath.Base(in.Source)
		if other, twice := bases[b]; twice {
			return fmt.Errorf("inputs %s and %s: both would be %s in the job's folder: rename one", other, in.Source, b)
		}
		bases[b] = in.Source
	}
	return nil
}

// sendable looks whether all of an input can be read and sent, since machines that
// have started by then would have done so for nothing.
func sendable(source string) error {
	top, err := filepath.EvalSymlinks(source)
	if err != nil {
		return notThere("input", source, err)
	}
	return filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		if d == nil { // the top is gone
			return notThere("input", source, err)
		}
		switch t := d.Type(); {
		case t == fs.ModeSymlink:
			return nil // is sent as a link
		case t != 0 && t != fs.ModeDir:
			return fmt.Errorf("input %s: %s is a %s: only files, folders and links can be sent: move it out of the folder", source, file, typeName(t))
		case err == nil:
			err = readable(file)
		}
		if err != nil {
			return fmt.Errorf("input %s: read %s: %w: make it readable for you, or leave it out", source, file, cause(err))
		}
		return nil
	})
}

func readable(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return f.Close()
}

// checkMounts looks whether all that is mounted can be, beside each other and
// what else the job puts into its machines.
func checkMounts(j ore.Job) error {
	var mounts, copies []string
	for _, in := range j.Run.Inputs {
		if in.Mount == "" {
			copies = append(copies, filepath.Join(jobFolder, filepath.Base(in.Source)))
			continue
		}
		if why := unmountable(in.Mount); why != "" {
			return fmt.Errorf("input %s: mount %s: %s", in.Source, in.Mount, why)
		}
		mounts = append(mounts, in.Mount)
	}
	most := MaxMounts
	if j.Machines.Hypervisor == "uml" {
		most = MaxMountsUML
	}
	if len(mounts) > most {
		return fmt.Errorf("inputs: %d are mounted: %d disks are free with hypervisor %s: put them into one folder, which is one disk", len(mounts), most, j.Machines.Hypervisor)
	}
	slices.Sort(mounts)
	for i, m := range mounts {
		for _, other := range mounts[i+1:] {
			if m == other {
				return fmt.Errorf("inputs: two are mounted at %s: change one of them", m)
			}
			if within(other, m) {
				return fmt.Errorf("inputs: mount %s lies in mount %s, which is read-only: change one of them", other, m)
			}
		}
		for _, c := range copies {
			if within(m, c) || within(c, m) {
				return fmt.Errorf("inputs: mount %s and the copy %s are in each other's place: change one of them", m, c)
			}
		}
		for _, f := range j.Wants.Files {
			if within(f.Path, m) {
				return fmt.Errorf("file %s: the input that is mounted at %s hides it: change one of them", f.Path, m)
			}
		}
	}
	return nil
}
