package job

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"ore"
)

// Load reads the job file at path over the values of base. Relative paths in it
// are taken from its folder; those of a pipe, which has none, from the working
// folder.
func Load(path string, base ore.Job) (ore.Job, error) {
	f, err := os.Open(path)
	if err != nil {
		return ore.Job{}, fmt.Errorf("read job file %s: %w: correct the path or make the file", path, cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ore.Job{}, fmt.Errorf("read job file: %w", err)
	}
	dir := filepath.Dir(path)
	switch t := info.Mode().Type(); t {
	case 0:
	case fs.ModeNamedPipe:
		dir = "."
	default:
		return ore.Job{}, fmt.Errorf("read job file %s: a %s: use a file or a pipe", path, typeName(t))
	}
	return Read(f, Origin{Name: path, Dir: dir}, base)
}

// Origin says what a job file is called in errors, and which folder its
// relative paths are taken from.
type Origin struct{ Name, Dir string }

// Read reads a job file to its end over the values of base.
func Read(from io.Reader, o Origin, base ore.Job) (ore.Job, error) {
	data, err := io.ReadAll(io.LimitReader(from, MaxFile+1))
	if err != nil {
		return ore.Job{}, fmt.Errorf("read job file: %w", err)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return ore.Job{}, fmt.Errorf("read job file: %w", err)
	}
	return Parse(o.Name, dir, data, base)
}

// typeName says what is no file, in a word.
func typeName(m fs.FileMode) string {
	for bit, name := range map[fs.FileMode]string{
		fs.ModeDir: "folder", fs.ModeSymlink: "link", fs.ModeSocket: "socket", fs.ModeNamedPipe: "named pipe", fs.ModeDevice: "device",
	} {
		if m&bit != 0 {
			return name
		}
	}
	return "special file"
}

// Parse reads the job file data, called name in errors, over the values of
// base. Relative paths are taken from dir. The error joins one *Error a fault.
func Parse(name, dir string, data []byte, base ore.Job) (ore.Job, error) {
	if len(data) > MaxFile {
		return ore.Job{}, fmt.Errorf("read job file %s: larger than %s: put large contents beside it and name them with source", name, FormatSize(MaxFile))
	}
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		return ore.Job{}, syntaxError(name, err)
	}
	r := &reader{file: name, dir: dir}
	j := base
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		r.job(doc.Content[0], &j)
	} else {
		r.job(&doc, &j)
	}
	if len(r.faults) > 0 {
		return ore.Job{}, r.err()
	}
	return j, nil
}

func (r *reader) job(n *yaml.Node, j *ore.Job) {
	r.mapping("the job file", n, map[string]field{
		"name": func(_, v *yaml.Node) {
			if s, ok := r.str("name", v); ok {
				if !plainName(s) {
					r.fault(v, "name is %q: allowed are letters, digits, . _ -, at most %d", s, MaxName)
				}
				j.Name = s
			}
		},
		"environment": func(_, v *yaml.Node) { r.environment(v, &j.Wants) },
		"machines":    func(_, v *yaml.Node) { r.machines(v, &j.Machines) },
		"network": func(_, v *yaml.Node) {
			s, _ := r.word("network", v, string(ore.NAT), string(ore.Isolated))
			j.Network = ore.Network(s)
		},
		"run": func(_, v *yaml.Node) { r.run(v, &j.Run) },
	})
}

func (r *reader) environment(n *yaml.Node, w *ore.Wants) {
	r.baseFirst(n, w)
	r.mapping("environment", n, map[string]field{
		"base": func(_, v *yaml.Node) {
			if s, ok := r.str("environment.base", v); ok {
				b, err := ParseBase(s)
				if err != nil {
					r.fault(v, "%v", err)
				}
				w.Base = b
			}
		},
		"packages": func(_, v *yaml.Node) { w.Packages = r.packages(v, w.Base) },
		"repositories": func(_, v *yaml.Node) {
			w.Repositories = nil
			r.list("environment.repositories", v, func(v *yaml.Node) {
				w.Repositories = append(w.Repositories, r.repository(v, w.Base))
			})
		},
		"kernel": func(_, v *yaml.Node) {
			if s, ok := r.str("environment.kernel", v); ok {
				if !packageName(s) {
					r.fault(v, "environment.kernel is %q: not a package name", s)
				}
				w.Kernel = s
			}
		},
		"files": func(_, v *yaml.Node) { w.Files = r.files(v) },
		"steps": func(_, v *yaml.Node) { w.Steps = r.steps(v) },
	})
}

func (r *reader) packages(n *yaml.Node, base ore.Base) []ore.Wish {
	var all []ore.Wish
	r.list("environment.packages", n, func(v *yaml.Node) {
		s, ok := r.str("an item of environment.packages", v)
		if !ok {
			return
		}
		w, err := ParseWishFor(base, s)
		if err != nil {
			r.fault(v, "%v", err)
			return
		}
		all = append(all, w)
	})
	return all
}

// path reads a host path and makes it absolute.
func (r *reader) path(what string, n *yaml.Node) (string, bool) {
	s, ok := r.str(what, n)
	if !ok {
		return "", false
	}
	if s == "" {
		r.fault(n, "%s is empty: allowed is a path", what)
		return "", false
	}
	if !filepath.IsAbs(s) {
		s = filepath.Join(r.dir, s)
	}
	return filepath.Clean(s), true
}

func (r *reader) files(n *yaml.Node) []ore.File {
	var all []ore.File
	r.pairs("environment.files", n, func(k, v *yaml.Node) {
		if !strings.HasPrefix(k.Value, "/") || filepath.Clean(k.Value) != k.Value || k.Value == "/" {
			r.fault(k, "file %q: allowed is an absolute path without . or ..", k.Value)
		}
		f := ore.File{Path: k.Value}
		given := 0
		r.mapping("file "+k.Value, v, map[string]field{
			"content": func(_, v *yaml.Node) {
				s, _ := r.str("content", v)
				f.Content = []byte(s)
				given++
			},
			"source": func(_, v *yaml.Node) {
				f.Source, _ = r.path("source", v)
				given++
			},
			"mode": func(_, v *yaml.Node) { f.Mode = r.mode(v) },
		})
		if given != 1 {
			r.fault(k, "file %s needs either content or source", k.Value)
		}
		all = append(all, f)
	})
	slices.SortFunc(all, func(a, b ore.File) int { return strings.Compare(a.Path, b.Path) })
	return all
}

func (r *reader) mode(n *yaml.Node) uint32 {
	s, ok := r.str("mode", n)
	if !ok {
		return 0
	}
	m, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || m > 0o7777 {
		r.fault(n, "mode is %q: allowed are octal permission bits such as 0755", s)
	}
	return uint32(m)
}

func (r *reader) steps(n *yaml.Node) []ore.Step {
	var all []ore.Step
	r.list("environment.steps", n, func(v *yaml.Node) {
		var s ore.Step
		r.mapping("a step", v, map[string]field{
			"name":    func(_, v *yaml.Node) { s.Name, _ = r.str("name", v) },
			"needs":   func(_, v *yaml.Node) { s.Needs = r.strs("needs", v) },
			"run":     func(_, v *yaml.Node) { s.Run, _ = r.str("run", v) },
			"network": func(_, v *yaml.Node) { s.Network = r.boolean("network", v) },
		})
		if !plainName(s.Name) || strings.TrimSpace(s.Run) == "" {
			r.fault(v, "a step needs a name (letters, digits, . _ -) and run")
		}
		all = append(all, s)
	})
	if len(r.faults) > 0 {
		return all
	}
	sorted, err := SortSteps(all)
	if err != nil {
		r.fault(n, "%v", err)
	}
	return sorted
}

func (r *reader) machines(n *yaml.Node, m *ore.Machines) {
	before := len(r.faults)
	var layout *yaml.Node // where the description of disks begins
	r.mapping("machines", n, map[string]field{
		"count": func(_, v *yaml.Node) { m.Count, _ = r.integer("machines.count", v, 1, MaxMachines) },
		"cpus":  func(_, v *yaml.Node) { m.CPUs, _ = r.integer("machines.cpus", v, 1, MaxCPUs) },
		"memory": func(_, v *yaml.Node) {
			m.Memory, _ = r.size("machines.memory", v, MinMemory, MaxMemory)
		},
		"disk": func(_, v *yaml.Node) { m.Disk, _ = r.size("machines.disk", v, MinDisk, MaxDisk) },
		"hypervisor": func(_, v *yaml.Node) {
			m.Hypervisor, _ = r.word("machines.hypervisor", v, Hypervisors...)
		},
		"root":    func(_, v *yaml.Node) { m.Root = r.root(v) },
		"disks":   func(_, v *yaml.Node) { layout, m.Storage.Disks = cmp.Or(layout, v), r.disks(v) },
		"arrays":  func(_, v *yaml.Node) { layout, m.Storage.Arrays = cmp.Or(layout, v), r.arrays(v) },
		"volumes": func(_, v *yaml.Node) { layout, m.Storage.Volumes = cmp.Or(layout, v), r.volumes(v) },
		"system":  func(_, v *yaml.Node) { r.system(v, &m.System) },
	})
	if layout == nil || len(r.faults) > before {
		return
	}
	if err := CheckStorage(m.Storage); err != nil {
		r.fault(layout, "%v", err)
	}
}
