package shelf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Where things are in the header and in a program header of a 64-bit ELF file
// (elf(5)).
const (
	phoffAt     = 32
	phentsizeAt = 54
	phnumAt     = 56
	pTypeAt     = 0
	pOffsetAt   = 8
	pFileszAt   = 32
	phSize      = 56
	ehSize      = 64
	// maxInterp is what the kernel accepts as an interpreter's path (PATH_MAX).
	maxInterp = 4096
)

// interpreter returns the path in the program's PT_INTERP and where its
// program header stands; "" for files that are no programs of this kind.
func interpreter(r io.ReaderAt) (interp string, header int64, err error) {
	var eh [ehSize]byte
	if n, _ := r.ReadAt(eh[:], 0); n < ehSize {
		return "", 0, nil
	}
	if string(eh[:4]) != elf.ELFMAG || eh[elf.EI_CLASS] != byte(elf.ELFCLASS64) || eh[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return "", 0, nil
	}
	le := binary.LittleEndian
	if le.Uint16(eh[phentsizeAt:]) != phSize {
		return "", 0, nil
	}
	at := int64(le.Uint64(eh[phoffAt:]))
	if at < 0 {
		return "", 0, errors.New("bad ELF header")
	}
	for i := range int64(le.Uint16(eh[phnumAt:])) {
		var ph [phSize]byte
		if _, err := r.ReadAt(ph[:], at+i*phSize); err != nil {
			return "", 0, fmt.Errorf("program headers: %w", err)
		}
		if elf.ProgType(le.Uint32(ph[pTypeAt:])) != elf.PT_INTERP {
			continue
		}
		size := le.Uint64(ph[pFileszAt:])
		if size < 2 || size > maxInterp {
			return "", 0, errors.New("bad PT_INTERP")
		}
		b := make([]byte, size)
		if _, err := r.ReadAt(b, int64(le.Uint64(ph[pOffsetAt:]))); err != nil {
			return "", 0, fmt.Errorf("PT_INTERP: %w", err)
		}
		name, _, _ := bytes.Cut(b, []byte{0})
		return string(name), at + i*phSize, nil
	}
	return "", 0, nil
}

// setInterpreter makes the program in f use the loader at the path to: the
// path is appended to the file, and the program header is made to point there.
// The header's address in memory stays as it was.
func setInterpreter(f *os.File, to string) error {
	_, header, err := interpreter(f)
	if err != nil {
		return err
	}
	if len(to)+1 > maxInterp {
		return fmt.Errorf("the path %s is too long for a program's loader: choose a shorter folder for the shelf", to)
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := f.Write(append([]byte(to), 0)); err != nil {
		return err
	}
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(end))
	if _, err := f.WriteAt(n[:], header+pOffsetAt); err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(n[:], uint64(len(to)+1))
	_, err = f.WriteAt(n[:], header+pFileszAt)
	return err
}

// linker finds the libraries of a tree's programs.
type linker struct {
	root    *os.Root
	dirs    []string            // where ld.so would look by itself
	used    []string            // folders in which libraries were found, in order of finding
	seen    map[string]bool     // files done
	missing map[string]struct{} // names that were found nowhere
}

// needs returns the folders of the libraries that the programs need, and the
// names of those that the tree does not hold.
func needs(root *os.Root, programs []program) (l *linker, err error) {
	l = &linker{root: root, seen: map[string]bool{}, missing: map[string]struct{}{}}
	l.dirs = append(l.dirs, "usr/lib64", "usr/lib")
	if triplets, err := readDir(root, "usr/lib"); err == nil {
		for _, t := range triplets {
			if strings.Contains(t, "-linux-gnu") {
				l.dirs = append([]string{"usr/lib/" + t}, l.dirs...)
			}
		}
	}
	for _, p := range programs {
		if err := l.walk(p.path); err != nil {
			return nil, fmt.Errorf("%s: %w", p.path, err)
		}
		if _, err := root.Stat(strings.TrimPrefix(p.interp, "/")); err != nil {
			l.missing[p.interp] = struct{}{}
		}
	}
	return l, nil
}

// walk follows the libraries of one ELF file.
func (l *linker) walk(name string) error {
	if l.seen[name] {
		return nil
	}
	l.seen[name] = true
	f, err := l.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		return err
	}
	libs, err := e.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, lib := range libs {
		found := l.find(lib, append(runpath(e, name), l.dirs...))
		if found == "" {
			l.missing[lib] = struct{}{}
		} else if err := l.walk(found); err != nil {
			return fmt.Errorf("%s: %w", lib, err)
		}
	}
	return nil
}

// find returns the path of a library and remembers its folder.
func (l *linker) find(lib string, dirs []string) string {
	if strings.Contains(lib, "/") {
		return ""
	}
	for _, d := range dirs {
		name := path.Join(d, lib)
		if info, err := l.root.Stat(name); err != nil || !info.Mode().IsRegular() {
			continue
		}
		for _, u := range l.used {
			if u == d {
				return name
			}
		}
		l.used = append(l.used, d)
		return name
	}
	return ""
}

// runpath returns the folders that an ELF file itself names for its
// libraries (ld.so(8)).
func runpath(e *elf.File, name string) []string {
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		values, err := e.DynString(tag)
		if err != nil {
			continue
		}
		for _, v := range values {
			for _, d := range strings.Split(v, ":") {
				d = strings.NewReplacer("${ORIGIN}", "/"+path.Dir(name), "$ORIGIN", "/"+path.Dir(name)).Replace(d)
				if path.IsAbs(d) {
					dirs = append(dirs, strings.TrimPrefix(path.Clean(d), "/"))
				}
			}
		}
	}
	return dirs
}
