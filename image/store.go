package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ore"
)

// ErrMissing is returned for a blob that the store does not have.
var ErrMissing = errors.New("not in the store")

// ErrRotten is returned for a blob whose bytes do not match its digest.
var ErrRotten = errors.New("bytes do not match the digest")

// ErrFull is returned where the disk has no room for a blob.
var ErrFull = errors.New("the disk is full: free some space, or remove images (ore images prune)")

// Store keeps blobs by digest in a folder. The zero value is not usable; see
// [OpenStore]. All methods may be called concurrently, also by other processes.
type Store struct {
	dir string
}

// OpenStore opens the store in dir, making the folder if need be.
func OpenStore(dir string) (*Store, error) {
	for _, d := range []string{"blobs/sha256", "partial", "quarantine", "stamps"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	return &Store{dir: dir}, nil
}

// Dir returns the store's folder.
func (s *Store) Dir() string { return s.dir }

func (s *Store) blob(d ore.Digest) string {
	return filepath.Join(s.dir, "blobs", "sha256", d.Hex())
}

// Put calls write with a new empty file and keeps what it wrote under its
// digest. A blob that exists already is left as it is. The blob is on the disk
// when Put returns.
func (s *Store) Put(ctx context.Context, write func(f *os.File) error) (ore.Digest, int64, error) {
	f, err := s.temporary()
	if err != nil {
		return "", 0, fmt.Errorf("store blob: %w", Full(err))
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := write(f); err != nil {
		return "", 0, Full(err)
	}
	if err := ctx.Err(); err != nil {
		return "", 0, err
	}
	d, n, err := hashFile(f)
	if err != nil {
		return "", 0, fmt.Errorf("store blob: %w", err)
	}
	if err := s.keep(f, d); err != nil {
		return "", 0, fmt.Errorf("store %s: %w", d.Short(), Full(err))
	}
	return d, n, nil
}

// removed makes of a file that went since it was looked for a missing blob.
func removed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrMissing
	}
	return err
}

// Full says what to do about an error that comes of a full disk, once. That of a
// process that could not be started is another limit's (clone(2)).
func Full(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) && path.Op == "fork/exec" {
		return err
	}
	if (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) && !errors.Is(err, ErrFull) {
		return fmt.Errorf("%w: %w", err, ErrFull)
	}
	return err
}

// temporary makes an empty file and locks it: it is unfinished, not left over,
// as long as its writer lives. Sweep is kept off between the two by a lock of
// the folder.
func (s *Store) temporary() (*os.File, error) {
	gate, err := lockFolder(s.partial(), unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	f, err := os.CreateTemp(s.partial(), "blob-*")
	if err != nil {
		return nil, err
	}
	// A shared lock, since the blob may be held as soon as it has its name.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), os.Remove(f.Name()), f.Close())
	}
	return f, nil
}

func (s *Store) partial() string { return filepath.Join(s.dir, "partial") }

func lockFolder(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

func (s *Store) keep(f *os.File, d ore.Digest) error {
	same, err := s.sameSize(f, d)
	if err != nil || same {
		return err
	}
	if err := f.Chmod(0o444); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), s.blob(d)); err != nil {
		return err
	}
	if stamp, err := stampOf(s.blob(d)); err == nil {
		s.note(d, stamp)
	}
	return nil
}

// sameSize says whether blob d is there with the size of f, which was just read
// and has this digest. One of another size is moved to quarantine.
func (s *Store) sameSize(f *os.File, d ore.Digest) (bool, error) {
	there, err := os.Stat(s.blob(d))
	if err != nil {
		return false, nil // it is not there, or renaming will say what is wrong
	}
	right, err := f.Stat()
	if err != nil {
		return false, err
	}
	if there.Mode().IsRegular() && there.Size() == right.Size() {
		return true, nil
	}
	return false, os.Rename(s.blob(d), filepath.Join(s.dir, "quarantine", d.Hex()))
}

// PutBytes keeps b.
func (s *Store) PutBytes(ctx context.Context, b []byte) (ore.Digest, error) {
	d, _, err := s.Put(ctx, func(f *os.File) error {
		_, err := f.Write(b)
		return err
	})
	return d, err
}

// PutStream keeps what r gives if it has digest want; else nothing is kept and
// the error matches ErrRotten.
func (s *Store) PutStream(ctx context.Context, want ore.Digest, r io.Reader) error {
	if want.Hex() == "" {
		return fmt.Errorf("store %q: malformed digest", want)
	}
	_, _, err := s.Put(ctx, func(f *os.File) error {
		h := sha256.New()
		if _, err := io.Copy(io.MultiWriter(f, h), r); err != nil {
			return fmt.Errorf("store %s: %w", want.Short(), err)
		}
		if got := ore.NewDigest([sha256.Size]byte(h.Sum(nil))); got != want {
			return fmt.Errorf("store %s: received %s: %w", want.Short(), got.Short(), ErrRotten)
		}
		return nil
	})
	return err
}

// Path returns the file of blob d. The error matches ErrMissing if it is not there.
func (s *Store) Path(d ore.Digest) (string, error) {
	if d.Hex() == "" {
		return "", fmt.Errorf("blob %q: malformed digest", d)
	}
	p := s.blob(d)
	if _, err := os.Stat(p); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("blob %s: %w", d.Short(), ErrMissing)
		}
		return "", fmt.Errorf("blob %s: %w", d.Short(), err)
	}
	return p, nil
}

// Verify reads blob d and compares its bytes with its digest. A blob that does
// not match is moved to the store's folder quarantine, so that no machine boots
// it, and the error matches ErrRotten.
func (s *Store) Verify(ctx context.Context, d ore.Digest) error {
	p, err := s.Path(d)
	if err != nil {
		return err
	}
	f, err := os.Open(p)
	if err != nil {
		return fmt.Errorf("verify %s: %w", d.Short(), removed(err))
	}
	defer f.Close()
	if err := ctx.Err(); err != nil {
		return err
	}
	got, _, err := hashFile(f)
	if err != nil {
		return fmt.Errorf("verify %s: %w", d.Short(), err)
	}
	if got == d {
		return nil
	}
	if err := os.Rename(p, filepath.Join(s.dir, "quarantine", d.Hex())); err != nil {
		return fmt.Errorf("verify %s: %w, and it could not be moved away: %w", d.Short(), ErrRotten, err)
	}
	return fmt.Errorf("verify %s: %w: it was moved to %s", d.Short(), ErrRotten, filepath.Join(s.dir, "quarantine"))
}

// Remove deletes blob d. Deleting what is not there is no error. A machine
// that has the file open keeps it until it ends.
func (s *Store) Remove(d ore.Digest) error {
	if d.Hex() == "" {
		return fmt.Errorf("remove %q: malformed digest", d)
	}
	for _, p := range []string{s.blob(d), s.stamp(d), s.stamp(d) + rootSuffix} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", d.Short(), err)
		}
	}
	return nil
}

// Blobs lists the digests and sizes of all blobs, sorted by digest.
func (s *Store) Blobs() (map[ore.Digest]int64, error) {
	list, err := os.ReadDir(filepath.Join(s.dir, "blobs", "sha256"))
	if err != nil {
		return nil, fmt.Errorf("list blobs: %w", err)
	}
	blobs := make(map[ore.Digest]int64, len(list))
	for _, e := range list {
		d, err := ore.ParseDigest("sha256:" + e.Name())
		if err != nil {
			continue // not ours
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list blobs: %w", err)
		}
		blobs[d] = info.Size()
	}
	return blobs, nil
}

// Sweep removes unfinished files whose writer died, and returns how many. It
// goes by locks and not by the clock.
func (s *Store) Sweep() (int, error) {
	list, err := os.ReadDir(s.partial())
	if err != nil {
		return 0, fmt.Errorf("sweep store: %w", err)
	}
	if len(list) == 0 {
		return 0, nil
	}
	gate, err := lockFolder(s.partial(), unix.LOCK_EX)
	if err != nil {
		return 0, fmt.Errorf("sweep store: %w", err)
	}
	defer gate.Close()
	n := 0
	for _, e := range list {
		path := filepath.Join(s.partial(), e.Name())
		if !strings.HasPrefix(e.Name(), "blob-") || !abandoned(path) {
			continue
		}
		if err := os.Remove(path); err == nil {
			n++
		}
	}
	return n, nil
}

// abandoned says whether nobody has the file at path locked.
func abandoned(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// Manifest reads and checks the manifest with digest d.
func (s *Store) Manifest(d ore.Digest) (Manifest, error) {
	p, err := s.Path(d)
	if err != nil {
		return Manifest{}, err
	}
	b, err := os.ReadFile(p)
	if err != nil {
		return Manifest{}, fmt.Errorf("manifest %s: %w", d.Short(), removed(err))
	}
	if ore.DigestOf(b) != d {
		return Manifest{}, fmt.Errorf("manifest %s: %w", d.Short(), ErrRotten)
	}
	return DecodeManifest(b)
}

func hashFile(f *os.File) (ore.Digest, int64, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	if err != nil {
		return "", 0, err
	}
	return ore.NewDigest([sha256.Size]byte(h.Sum(nil))), n, nil
}
