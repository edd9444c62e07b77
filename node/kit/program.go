package kit

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The names of the first files of an archive.
const (
	programName = "program"
	loaderName  = "loader"
)

const (
	// maxFiles bounds an archive: a QEMU with all that it can do has some 200
	// libraries.
	maxFiles = 1024
	// maxFile bounds one of them: the largest are programs with debugging
	// information.
	maxFile = 256 << 20
)

// Where things are in a 64-bit ELF file's header and in its program headers
// (elf(5)).
const (
	phoffAt   = 32
	phSize    = 56
	pOffsetAt = 8
	pFileszAt = 32
)

// systemLibraries is where loaders look by themselves (ld.so(8)), on Debian.
func systemLibraries() []string {
	return []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}
}

// PackProgram writes the program at path with its loader and libraries as an
// archive. dirs are where its libraries are, before the host's own folders.
func PackProgram(w io.Writer, path string, dirs []string) error {
	p, err := readProgram(path)
	if err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	libraries, err := needed(path, append(slices.Clone(dirs), systemLibraries()...))
	if err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	t := tar.NewWriter(w)
	add := func(name string, b []byte) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(b)), Mode: 0o555, Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err := t.Write(b)
		return err
	}
	if err := add(programName, p.bytes); err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	files := append([]found{{loaderName, p.loader}}, libraries...)
	if p.loader == "" {
		files = nil // it is linked with all that it needs
	}
	for _, l := range files {
		b, err := os.ReadFile(l.path)
		if err == nil {
			err = add(l.name, b)
		}
		if err != nil {
			return fmt.Errorf("pack %s: %w", path, err)
		}
	}
	return t.Close()
}

// program is a program's file without what binds it to a host.
type program struct {
	bytes  []byte
	loader string // its path, "" for a program without
}

// readProgram reads a program. A loader's path that stands at the end of the
// file was put there for this host and is left out.
func readProgram(path string) (program, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return program{}, err
	}
	header, err := interpreter(b)
	if err != nil || header == 0 {
		return program{bytes: b}, err
	}
	offset, size := binary.LittleEndian.Uint64(b[header+pOffsetAt:]), binary.LittleEndian.Uint64(b[header+pFileszAt:])
	loader, _, _ := strings.Cut(string(b[offset:offset+size]), "\x00")
	if offset+size == uint64(len(b)) {
		b = b[:offset]
		binary.LittleEndian.PutUint64(b[header+pOffsetAt:], 0)
		binary.LittleEndian.PutUint64(b[header+pFileszAt:], 0)
	}
	return program{bytes: b, loader: loader}, nil
}

// interpreter returns where the program header PT_INTERP stands in an ELF file,
// 0 if it has none. What the header says lies within the file.
func interpreter(b []byte) (int, error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return 0, fmt.Errorf("%w: not a program for this kind of host", ErrFormat)
	}
	at := binary.LittleEndian.Uint64(b[phoffAt:])
	for i, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		header := at + uint64(i)*phSize
		size := uint64(len(b))
		if header > size || size-header < phSize || p.Off > size || p.Filesz > size-p.Off {
			return 0, fmt.Errorf("%w: a program header beyond the file", ErrFormat)
		}
		return int(header), nil
	}
	return 0, nil
}

// found is a library: the name by which it is asked for, and where it is.
type found struct{ name, path string }

// needed returns all libraries of the ELF file at path, and theirs.
func needed(path string, dirs []string) ([]found, error) {
	var all []found
	seen := map[string]bool{}
	for queue := []string{path}; len(queue) > 0; queue = queue[1:] {
		f, err := elf.Open(queue[0])
		if err != nil {
			return nil, err
		}
		names, err := f.ImportedLibraries()
		f.Close()
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			at := slices.IndexFunc(dirs, func(d string) bool {
				info, err := os.Stat(filepath.Join(d, name))
				return err == nil && info.Mode().IsRegular()
			})
			if at < 0 || strings.Contains(name, "/") {
				return nil, fmt.Errorf("its library %s is not found: install the package that has it", name)
			}
			l := found{name, filepath.Join(dirs[at], name)}
			all, queue = append(all, l), append(queue, l.path)
		}
	}
	slices.SortFunc(all, func(a, b found) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// Unpack lays the archive of a program out in the empty folder root, which the
// program will know as dir, and returns the program's path there.
func Unpack(r io.Reader, root *os.Root, dir string) (string, error) {
	t := tar.NewReader(r)
	for i := 0; ; i++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) && i > 0 {
			return filepath.Join(dir, programName), nil
		}
		if err != nil {
			return "", fmt.Errorf("unpack program: %w: %w", ErrFormat, err)
		}
		if err := place(h, i); err != nil {
			return "", err
		}
		b, err := io.ReadAll(io.LimitReader(t, maxFile))
		if err != nil {
			return "", fmt.Errorf("unpack program: %w: %w", ErrFormat, err)
		}
		if i == 0 {
			if b, err = bind(b, filepath.Join(dir, loaderName)); err != nil {
				return "", fmt.Errorf("unpack program: %w", err)
			}
		}
		if err := root.WriteFile(h.Name, b, 0o555); err != nil {
			return "", fmt.Errorf("unpack program: %w", err)
		}
	}
}

// place refuses what is no file i of a program's archive.
func place(h *tar.Header, i int) error {
	first := []string{programName, loaderName}
	switch {
	case h.Typeflag != tar.TypeReg || h.Size > maxFile || i >= maxFiles,
		i < len(first) && h.Name != first[i],
		i >= len(first) && slices.Contains(first, h.Name),
		h.Name == "" || h.Name == "." || h.Name == ".." || strings.ContainsAny(h.Name, "/\x00"):
		return fmt.Errorf("unpack program: %w: file %d, %q", ErrFormat, i, h.Name)
	}
	return nil
}

// bind gives a program the loader at path.
func bind(b []byte, path string) ([]byte, error) {
	header, err := interpreter(b)
	if err != nil || header == 0 {
		return b, err
	}
	binary.LittleEndian.PutUint64(b[header+pOffsetAt:], uint64(len(b)))
	binary.LittleEndian.PutUint64(b[header+pFileszAt:], uint64(len(path)+1))
	return append(append(b, path...), 0), nil
}
