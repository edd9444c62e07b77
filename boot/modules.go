package boot

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ore/deb/archive"
)

// maxModule bounds one decompressed module; the largest of Debian 12 and 13
// (amdgpu) has 25 MiB.
const maxModule = 256 << 20

// modules are a kernel's modules in a folder that is /lib/modules/VERSION.
type modules struct {
	dir     string
	files   map[string]string // path within dir, by the module's name
	builtin map[string]bool   // names of what the kernel has without a module
}

// module is one module that is to be loaded.
type module struct {
	name string
	data []byte // decompressed
}

// moduleName returns the name of the module in a file, in which the kernel
// writes "_" for "-"; "" for other files.
func moduleName(file string) string {
	base, suffix, ok := strings.Cut(path.Base(file), ".ko")
	if !ok || (suffix != "" && suffix != ".xz" && suffix != ".zst" && suffix != ".gz") {
		return ""
	}
	return strings.ReplaceAll(base, "-", "_")
}

// findModules lists the modules under dir.
func findModules(dir string) (*modules, error) {
	m := &modules{dir: dir, files: map[string]string{}, builtin: map[string]bool{}}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if name := moduleName(p); name != "" {
			m.files[name] = strings.TrimPrefix(p, dir+"/")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		m.builtin[moduleName(s.Text())] = true
	}
	return m, nil
}

// wanted is a module to load. One that is not needed may be missing.
type wanted struct {
	name   string
	needed bool
}

// order returns the wanted modules and all that they depend on, each after
// what it needs, as modprobe would load them.
func (m *modules) order(list []wanted) ([]module, error) {
	o := &ordering{modules: m, state: map[string]int{}}
	for _, w := range list {
		if err := o.add(w.name, w.needed); err != nil {
			return nil, err
		}
	}
	return o.list, nil
}

// ordering is a depth-first walk over the modules' needs.
type ordering struct {
	*modules
	state     map[string]int // visiting, done
	list      []module
	namesOnly bool // the list's modules have no data
}

// The states of a module in a walk.
const (
	visiting = iota + 1
	done
)

func (o *ordering) add(name string, needed bool) error {
	name = strings.ReplaceAll(name, "-", "_")
	switch o.state[name] {
	case done:
		return nil
	case visiting:
		return fmt.Errorf("module %s needs itself", name)
	}
	file, ok := o.files[name]
	if !ok {
		if o.builtin[name] || !needed {
			return nil
		}
		return fmt.Errorf("the kernel has no module %s: choose another kernel package", name)
	}
	o.state[name] = visiting
	data, err := readModule(filepath.Join(o.dir, file))
	if err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	hard, soft, err := moduleNeeds(data)
	if err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	for _, n := range soft {
		if o.state[strings.ReplaceAll(n, "-", "_")] == visiting {
			continue // soft needs may go round in a circle (modprobe.d(5))
		}
		if err := o.add(n, false); err != nil {
			return err
		}
	}
	for _, n := range hard {
		if err := o.add(n, true); err != nil {
			return err
		}
	}
	o.state[name] = done
	if o.namesOnly {
		data = nil
	}
	o.list = append(o.list, module{name: name, data: data})
	return nil
}

// readModule returns a module's ELF file.
func readModule(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	format := strings.TrimPrefix(filepath.Ext(file), ".")
	if format == "ko" {
		format = ""
	}
	r, err := archive.Decode(format, f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err == nil && len(b) > maxModule {
		err = errors.New("too large")
	}
	return b, err
}

// moduleNeeds reads which modules a module needs, and which it wants before
// itself if they are there. Its .modinfo section holds NUL-ended strings such
// as "depends=mbcache,jbd2" and "softdep=pre: crc32c" (include/linux/module.h).
func moduleNeeds(data []byte) (hard, soft []string, err error) {
	e, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, nil, err
	}
	section := e.Section(".modinfo")
	if section == nil {
		return nil, nil, errors.New("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, nil, err
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		key, value, _ := strings.Cut(entry, "=")
		switch key {
		case "depends":
			hard = append(hard, slices.DeleteFunc(strings.Split(value, ","), func(s string) bool { return s == "" })...)
		case "softdep":
			pre := false
			for word := range strings.FieldsSeq(value) {
				if strings.HasSuffix(word, ":") {
					pre = word == "pre:"
				} else if pre {
					soft = append(soft, word)
				}
			}
		}
	}
	return hard, soft, nil
}
