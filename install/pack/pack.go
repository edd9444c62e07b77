package pack

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ore"
	"ore/deb/archive"
	"ore/install/beside"
	"ore/install/kept"
	"ore/install/tree"
	"ore/squashfs"
)

// formatVersion is part of a pack's place: it changes when the meaning of the
// files does.
const formatVersion = 2

// copyBuffer is the unit in which content is moved: large enough that few calls
// are made, small enough for a core's cache.
const copyBuffer = 128 << 10

// Store makes and finds packs in a folder. It may be used by several
// goroutines and processes at once.
type Store struct {
	dir     string
	options squashfs.Options
	decode  archive.Decompress
}

// Pack is one decoded package. Its fields are not to be changed; its methods
// may be called by several goroutines at once.
type Pack struct {
	Digest    ore.Digest        // of the .deb
	Control   map[string][]byte // the control member: control, postinst, triggers ...
	Nodes     []tree.Node       // in the archive's order
	Conffiles map[string]string // MD5 in hex of each file that control lists as a conffile, by its path
	body      *squashfs.Reader
	file      *os.File
}

// stored is what the second file of a pack holds.
type stored struct {
	Control   map[string][]byte
	Nodes     []tree.Node
	Conffiles map[string]string
}

// Sink takes the content of regular file i of a package, so that unpacking and
// packing read it together. A nil writer means that the content is not wanted.
type Sink func(i int, n *tree.Node) (io.WriteCloser, error)

// Open opens the packs in dir, made with the given options. A nil decode
// decodes in this process.
func Open(dir string, o squashfs.Options, decode archive.Decompress) (*Store, error) {
	name := fmt.Sprintf("v%d-%s-%d-%d", formatVersion, o.Compression, o.Level, o.BlockSize)
	s := &Store{dir: filepath.Join(dir, name), options: o, decode: decode}
	s.options.Jobs = 1 // packages are decoded side by side already
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("open packs: %w", err)
	}
	return s, nil
}

// File is a file that came of packages.
type File struct {
	Path    string
	Content []byte
}

// Add makes a pack of files that no package has, which Find finds by d, and keeps
// notes beside it as its Control.
func (s *Store) Add(d ore.Digest, notes map[string][]byte, files []File) (_ *Pack, err error) {
	out, err := os.CreateTemp(s.dir, "making-*")
	if err != nil {
		return nil, fmt.Errorf("keep files: %w", err)
	}
	defer os.Remove(out.Name())
	st, err := s.pack(out, files)
	if err == nil {
		st.Control = notes
		err = s.keep(d, out, st)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep files: %w", err), out.Close())
	}
	return open(d, *st, out)
}

// pack writes files into out.
func (s *Store) pack(out *os.File, files []File) (*stored, error) {
	w, err := squashfs.NewWriter(out, s.options)
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	if err := w.Add(squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil); err != nil {
		return nil, err
	}
	st := &stored{}
	for i, f := range files {
		n := tree.Node{Entry: squashfs.Entry{Path: f.Path, Mode: 0o644, Size: int64(len(f.Content))}, Sum: sha256.Sum256(f.Content)}
		st.Nodes = append(st.Nodes, n)
		if err := w.Add(squashfs.Entry{Path: strconv.Itoa(i), Mode: 0o644, Size: n.Size}, bytes.NewReader(f.Content)); err != nil {
			return nil, err
		}
	}
	return st, w.Close()
}

// Find opens the pack with digest d. If there is none, the error matches
// fs.ErrNotExist.
func (s *Store) Find(d ore.Digest) (*Pack, error) {
	p, err := s.find(d)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", d.Short(), err)
	}
	s.Used(d)
	return p, nil
}

// Beside returns the same store for goroutines that give way to others; each has
// called beside.Thread.
func (s *Store) Beside() *Store {
	other := *s
	other.options.Thread = beside.Thread
	return &other
}

func (s *Store) path(d ore.Digest, ext string) string { return filepath.Join(s.dir, d.Hex()+ext) }

// Get returns the pack of the package whose .deb has digest d and lies at the
// path deb, decoding it if that has never been done. If sink is not nil it gets
// the content of all regular files. The caller closes the pack.
func (s *Store) Get(ctx context.Context, d ore.Digest, deb string, sink Sink) (*Pack, error) {
	if d.Hex() == "" {
		return nil, fmt.Errorf("pack %q: malformed digest", d)
	}
	p, err := s.find(d)
	if errors.Is(err, fs.ErrNotExist) {
		return s.make(ctx, d, deb, sink)
	}
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", d.Short(), err)
	}
	if sink != nil {
		if err := p.feed(ctx, sink); err != nil {
			p.Close()
			return nil, fmt.Errorf("pack %s: %w", d.Short(), err)
		}
	}
	return p, nil
}

// Used notes that the pack of the package with digest d is used.
func (s *Store) Used(d ore.Digest) { kept.Touch(s.path(d, ".gob")) }

// find opens a pack that exists; if not, the error matches fs.ErrNotExist.
func (s *Store) find(d ore.Digest) (*Pack, error) {
	b, err := os.ReadFile(s.path(d, ".gob"))
	if err != nil {
		return nil, err
	}
	var st stored
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&st); err != nil {
		return nil, fmt.Errorf("read entries: %w", err)
	}
	f, err := os.Open(s.path(d, ".squashfs"))
	if err != nil {
		return nil, err
	}
	return open(d, st, f)
}

func open(d ore.Digest, st stored, f *os.File) (*Pack, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	body, err := squashfs.NewReader(f, info.Size())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read content: %w", err), f.Close())
	}
	return &Pack{Digest: d, Control: st.Control, Nodes: st.Nodes, Conffiles: st.Conffiles, body: body, file: f}, nil
}

// feed gives sink the content of every regular file.
func (p *Pack) feed(ctx context.Context, sink Sink) error {
	buf := make([]byte, copyBuffer)
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if !n.Regular() || n.Hardlink != "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		w, err := sink(i, n)
		if err != nil {
			return err
		}
		if w == nil {
			continue
		}
		r, err := p.Content(i)
		if err != nil {
			return errors.Join(err, w.Close())
		}
		_, err = io.CopyBuffer(onlyWriter{w}, r, buf)
		if err := errors.Join(err, r.Close(), w.Close()); err != nil {
			return fmt.Errorf("%s: %w", n.Path, err)
		}
	}
	return nil
}

// onlyWriter hides a file's ReadFrom, which would bring a buffer of its own.
type onlyWriter struct{ io.Writer }

// Content opens the content of regular file i.
func (p *Pack) Content(i int) (io.ReadCloser, error) { return p.body.Open(strconv.Itoa(i)) }

// AddTo adds regular file i to w as entry e, without compressing it again.
func (p *Pack) AddTo(w *squashfs.Writer, e squashfs.Entry, i int) error {
	return w.AddFrom(e, p.body, strconv.Itoa(i))
}

// Close frees the pack's file.
func (p *Pack) Close() error { return p.file.Close() }

// make decodes the .deb at the path deb, which must have digest d.
func (s *Store) make(ctx context.Context, d ore.Digest, deb string, sink Sink) (_ *Pack, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
	}()
	in, err := os.Open(deb)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	size, err := verify(in, d)
	if err != nil {
		return nil, err
	}
	pkg, err := archive.Open(in, size, s.decode)
	if err != nil {
		return nil, err
	}
	out, err := os.CreateTemp(s.dir, "making-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name())
	st, err := s.write(ctx, out, pkg, sink)
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	if err := s.keep(d, out, st); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return open(d, *st, out)
}

// verify reads the .deb once and compares it with its digest, so that nothing
// that was changed on the disk since it was fetched gets into an image.
func verify(f *os.File, want ore.Digest) (int64, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(h, onlyReader{f}, make([]byte, copyBuffer))
	if err != nil {
		return 0, err
	}
	if got := ore.NewDigest([sha256.Size]byte(h.Sum(nil))); got != want {
		return 0, fmt.Errorf("the file has digest %s, not %s: fetch it again", got.Short(), want.Short())
	}
	return n, nil
}

type onlyReader struct{ io.Reader }

// keep gives the two files of a pack their names.
func (s *Store) keep(d ore.Digest, body *os.File, st *stored) error {
	if err := os.Rename(body.Name(), s.path(d, ".squashfs")); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, "making-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(gob.NewEncoder(f).Encode(st), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path(d, ".gob"))
}

// write decodes pkg into out.
func (s *Store) write(ctx context.Context, out *os.File, pkg *archive.Deb, sink Sink) (*stored, error) {
	w, err := squashfs.NewWriter(out, s.options)
	if err != nil {
		return nil, err
	}
	root := squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}
	if err := w.Add(root, nil); err != nil {
		return nil, err
	}
	m := &maker{
		stored: &stored{Control: pkg.Control(), Conffiles: map[string]string{}},
		w:      w, sink: sink, listed: conffiles(pkg.Control()["conffiles"]),
	}
	files, err := pkg.Files()
	if err != nil {
		return nil, err
	}
	for err == nil {
		if err = ctx.Err(); err == nil {
			err = m.next(files)
		}
	}
	if err != io.EOF {
		return nil, errors.Join(err, files.Close())
	}
	if err := errors.Join(files.Close(), w.Close()); err != nil {
		return nil, err
	}
	return m.stored, nil
}

// conffiles reads the control file of that name: absolute paths, one a line
// (deb-conffiles(5)). Lines with a flag name files that the package no longer
// has.
func conffiles(b []byte) map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "/"); ok {
			set[p] = true
		}
	}
	return set
}

// md5Hex returns b's MD5 as dpkg writes it.
func md5Hex(b []byte) string { return fmt.Sprintf("%x", md5.Sum(b)) }

// Head returns the control member of the .deb at the path deb, before it is
// decoded and verified: what it says may order work, and nothing else.
func (s *Store) Head(deb string) (_ map[string][]byte, err error) {
	in, err := os.Open(deb)
	if err != nil {
		return nil, fmt.Errorf("read control: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, fmt.Errorf("read control: %w", err)
	}
	pkg, err := archive.Open(in, info.Size(), s.decode)
	if err != nil {
		return nil, fmt.Errorf("read control of %s: %w", filepath.Base(deb), err)
	}
	return pkg.Control(), nil
}

// Has tells whether the pack of the package with digest d exists.
func (s *Store) Has(d ore.Digest) bool {
	_, err := os.Stat(s.path(d, ".gob"))
	return err == nil
}
