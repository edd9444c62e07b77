package bytecode

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"ore"
	"ore/install/kept"
	"ore/install/sandbox/instead"
)

// formatVersion is part of a result's place: it changes with the calls and with
// the form in which results are kept.
const formatVersion = 1

// Python is one version of the interpreter, named as its program: python3.11.
type Python string

// minimal matches the package that has the interpreter.
var minimal = regexp.MustCompile(`^(python3\.[0-9]+)-minimal$`)

// Find returns the first Python among the names of packages, "" for none.
func Find(names []string) Python {
	for _, n := range names {
		if m := minimal.FindStringSubmatch(n); m != nil {
			return Python(m[1])
		}
	}
	return ""
}

// Minimal is the package of the interpreter.
func (p Python) Minimal() string { return string(p) + "-minimal" }

// Sources are the packages that have the modules, and for each the package whose
// script has them compiled.
func (p Python) Sources() [][2]string {
	return [][2]string{{"lib" + string(p) + "-minimal", p.Minimal()}, {"lib" + string(p) + "-stdlib", string(p)}}
}

// compiler is the program that is called.
func (p Python) compiler() string { return "/usr/lib/" + string(p) + "/py_compile.py" }

// Asks tells whether a maintainer script makes the call that is known.
func (p Python) Asks(script []byte) bool {
	return bytes.Contains(script, []byte("/usr/bin/"+string(p)+" -E -S "+p.compiler()+" $files\n"))
}

// Command is the call that compiles files.
func (p Python) Command(files []string) []string {
	return append([]string{"/usr/bin/" + string(p), "-E", "-S", p.compiler()}, files...)
}

// Modules picks from a package's names those that the scripts have compiled.
func (p Python) Modules(names []string) []string {
	var list []string
	for _, n := range names {
		if strings.HasPrefix(n, "usr/lib/"+string(p)+"/") && strings.HasSuffix(n, ".py") {
			list = append(list, "/"+n)
		}
	}
	return list
}

// Call is one call of the compiler: what it was to compile and what it made.
type Call struct {
	Files []string
	Made  []File
}

// File is a file that the compiler made.
type File struct {
	Path    string // relative to the tree
	Content []byte
}

// Make makes the calls in the tree root, in their order, by run.
func Make(ctx context.Context, root string, calls []Call, run func(ctx context.Context, files []string) error) error {
	before := map[string][]byte{}
	for i := range calls {
		if err := run(ctx, calls[i].Files); err != nil {
			return fmt.Errorf("compile: %w", err)
		}
		err := filepath.WalkDir(filepath.Join(root, "usr/lib"), func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || path.Base(path.Dir(name)) != "__pycache__" {
				return err
			}
			b, err := os.ReadFile(name)
			if err != nil || bytes.Equal(b, before[name]) {
				return err
			}
			before[name] = b
			rel, err := filepath.Rel(root, name)
			calls[i].Made = append(calls[i].Made, File{Path: rel, Content: b})
			return err
		})
		if err != nil {
			return fmt.Errorf("compile: %w", err)
		}
	}
	return nil
}

// Store keeps calls in a folder, by a key of all that they depend on.
type Store string

func (s Store) path(key ore.Key) string {
	return filepath.Join(string(s), fmt.Sprintf("v%d-%s", formatVersion, key))
}

// Get returns the calls that were kept; the error matches fs.ErrNotExist if
// there are none.
func (s Store) Get(key ore.Key) ([]Call, error) {
	packed, err := os.ReadFile(s.path(key))
	if err != nil {
		return nil, fmt.Errorf("compiled modules: %w", err)
	}
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compiled modules: %w", err)
	}
	defer z.Close()
	kept.Touch(s.path(key))
	var calls []Call
	if err := gob.NewDecoder(z).Decode(&calls); err != nil {
		return nil, fmt.Errorf("compiled modules: %s: %w", s.path(key), err)
	}
	return calls, nil
}

// Put keeps calls.
func (s Store) Put(key ore.Key, calls []Call) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep compiled modules: %w", err)
		}
	}()
	if err := os.MkdirAll(string(s), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(string(s), "making-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	z, err := zstd.NewWriter(f, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(gob.NewEncoder(z).Encode(calls), z.Close(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path(key))
}

// Lay writes calls into the folder dir, which a tree sees as instead.LentDir, as
// the stand-in wants them.
func Lay(dir string, calls []Call) error {
	for i, c := range calls {
		place := filepath.Join(dir, "call-"+strconv.Itoa(i))
		made := filepath.Join(place, "made")
		if err := os.MkdirAll(made, 0o755); err != nil {
			return fmt.Errorf("lay out compiled modules: %w", err)
		}
		folders := map[string]bool{}
		for _, f := range c.Made {
			name := filepath.Join(made, f.Path)
			if d := filepath.Dir(name); !folders[d] {
				if err := os.MkdirAll(d, 0o755); err != nil {
					return fmt.Errorf("lay out compiled modules: %w", err)
				}
				folders[d] = true
			}
			if err := os.WriteFile(name, f.Content, 0o644); err != nil {
				return fmt.Errorf("lay out compiled modules: %w", err)
			}
		}
		list := strings.Join(slices.Concat(c.Files, []string{""}), "\n")
		if err := os.WriteFile(filepath.Join(place, "files"), []byte(list), 0o644); err != nil {
			return fmt.Errorf("lay out compiled modules: %w", err)
		}
	}
	return nil
}

//go:embed python
var script string

// lockName is the file in the lent folder that is locked until all is laid out.
const lockName = "lock"

// StandIn writes the stand-in into dir, and the lock into the folder that will be
// lent. The stand-in waits until the returned file, which is the lock, is closed.
func (p Python) StandIn(dir, lent string) (instead.Program, *os.File, error) {
	var none instead.Program
	for _, d := range []string{dir, lent} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return none, nil, fmt.Errorf("stand in for %s: %w", p, err)
		}
	}
	text := strings.NewReplacer("PYTHON", string(p), "COMPILER", p.compiler(),
		"LENT", instead.LentDir, "OWN", instead.OwnDir).Replace(script)
	host := filepath.Join(dir, string(p))
	if err := os.WriteFile(host, []byte(text), 0o755); err != nil {
		return none, nil, fmt.Errorf("stand in for %s: %w", p, err)
	}
	lock, err := hold(filepath.Join(lent, lockName))
	if err != nil {
		return none, nil, fmt.Errorf("stand in for %s: %w", p, err)
	}
	return instead.Program{Path: "usr/bin/" + string(p), Host: host}, lock, nil
}
