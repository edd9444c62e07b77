package kit

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"ore"
	"ore/image"
	"ore/node"
)

// notSent is the hypervisor whose program hosts must have; see the package's page.
const notSent = "qemu"

// libraryPath is the variable that names a program's folders of libraries (ld.so(8)).
const libraryPath = "LD_LIBRARY_PATH="

// Packer makes kits of what machines are started with on this host, and
// remembers them. Its methods may be called concurrently.
type Packer struct {
	store *image.Store // of what has a form of its own

	mu   sync.Mutex // guards memo
	memo map[string]ore.Digest
}

// OpenPacker opens the packer that keeps what it makes in the folder dir.
func OpenPacker(dir string) (*Packer, error) {
	store, err := image.OpenStore(dir)
	if err != nil {
		return nil, fmt.Errorf("open packer: %w", err)
	}
	p := &Packer{store: store, memo: map[string]ore.Digest{}}
	if b, err := os.ReadFile(p.memoPath()); err == nil && json.Unmarshal(b, &p.memo) != nil {
		p.memo = map[string]ore.Digest{} // what is forgotten is made again
	}
	return p, nil
}

func (p *Packer) memoPath() string { return filepath.Join(p.store.Dir(), "kits.json") }

// Pack returns the kit of b, and where its blobs are on this host.
func (p *Packer) Pack(ctx context.Context, b node.Boot) (Kit, map[ore.Digest]string, error) {
	if len(b.Program) == 0 {
		return Kit{}, nil, errors.New("pack kit: no hypervisor's program was given")
	}
	k := Kit{Hypervisor: b.Hypervisor, Args: b.Program[1:], Accelerator: b.Accelerator, Release: b.Release}
	paths := map[ore.Digest]string{}
	var dirs []string
	for _, e := range b.Env {
		if list, ok := strings.CutPrefix(e, libraryPath); ok {
			dirs = filepath.SplitList(list)
		}
	}
	file := b.Program[0]
	if b.Hypervisor == notSent {
		k.Own, file = filepath.Base(file), ""
	}
	program := form{"program of " + strings.Join(dirs, " "), func(w io.Writer, f *os.File) error { return PackProgram(w, f.Name(), dirs) }}
	for _, part := range []struct {
		to   *ore.Digest
		file string
		form form
	}{
		{&k.Program, file, program},
		{&k.Disk, b.Disk, form{"disk", PackSparse}},
		{&k.Kernel, b.Kernel, form{}},
		{&k.Initrd, b.Initrd, form{}},
		{&k.Modules, b.Modules, form{}},
	} {
		if part.file == "" {
			continue
		}
		d, path, err := p.part(ctx, part.file, part.form)
		if err != nil {
			return Kit{}, nil, fmt.Errorf("pack kit: %w", err)
		}
		*part.to, paths[d] = d, path
	}
	return k, paths, nil
}

// form is what a file is made into for the way; the zero value leaves it as it is.
type form struct {
	name  string
	write func(w io.Writer, f *os.File) error
}

// part returns the digest and the path of a part's blob.
func (p *Packer) part(ctx context.Context, file string, form form) (ore.Digest, string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	stamp, err := stampOf(f)
	if err != nil {
		return "", "", err
	}
	key := form.name + " " + file + " " + stamp
	if d, ok := p.recall(key); ok {
		if form.write == nil {
			return d, file, nil
		}
		if path, err := p.store.Path(d); err == nil {
			return d, path, nil
		}
	}
	if form.write == nil {
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return "", "", err
		}
		d := ore.NewDigest([sha256.Size]byte(h.Sum(nil)))
		return d, file, p.note(key, d)
	}
	d, _, err := p.store.Put(ctx, func(to *os.File) error {
		w := bufio.NewWriter(to)
		if err := form.write(w, f); err != nil {
			return err
		}
		return w.Flush()
	})
	if err != nil {
		return "", "", err
	}
	path, err := p.store.Path(d)
	if err != nil {
		return "", "", err
	}
	return d, path, p.note(key, d)
}

func (p *Packer) recall(key string) (ore.Digest, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.memo[key]
	return d, ok && d.Hex() != ""
}

// maxMemo bounds what is remembered: kernels and tools come and go.
const maxMemo = 256

// note remembers the blob of a file.
func (p *Packer) note(key string, d ore.Digest) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.memo) >= maxMemo {
		clear(p.memo)
	}
	p.memo[key] = d
	b, err := json.Marshal(p.memo)
	if err != nil {
		return err
	}
	return writeWhole(p.memoPath(), b)
}

func writeWhole(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// stampOf returns what changes when somebody writes to a file: no program can
// set a change time (stat(2), st_ctime).
func stampOf(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("%s: no inode", f.Name())
	}
	return fmt.Sprintf("%d %d %d.%09d", st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec), nil
}
