package site

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"ore"
	"ore/image"
)

// lockFiles turns the files of a wish into entries named by content, and says
// where on the host each content is. Contents that stand in the job file are
// kept as blobs, so that a lock can be built without it.
func lockFiles(ctx context.Context, store *image.Store, files []ore.File) ([]ore.LockedFile, map[ore.Digest]string, error) {
	l := &locker{store: store, sources: map[ore.Digest]string{}}
	for _, f := range files {
		var err error
		if f.Source == "" {
			err = l.content(ctx, f)
		} else {
			err = l.source(f)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	return l.files, l.sources, nil
}

type locker struct {
	store   *image.Store
	files   []ore.LockedFile
	sources map[ore.Digest]string
}

func (l *locker) content(ctx context.Context, f ore.File) error {
	d, err := l.store.PutBytes(ctx, f.Content)
	if err != nil {
		return err
	}
	p, err := l.store.Path(d)
	if err != nil {
		return err
	}
	mode := f.Mode
	if mode == 0 {
		mode = 0o644
	}
	l.sources[d] = p
	l.files = append(l.files, ore.LockedFile{Path: f.Path, Mode: syscall.S_IFREG | mode, Digest: d, Size: int64(len(f.Content))})
	return nil
}

func (l *locker) source(f ore.File) error {
	top, err := filepath.EvalSymlinks(f.Source)
	if err != nil {
		return err
	}
	return filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		return l.entry(p, path.Join(f.Path, filepath.ToSlash(rel)), f.Mode)
	})
}

func (l *locker) entry(host, name string, mode uint32) error {
	info, err := os.Lstat(host)
	if err != nil {
		return err
	}
	out := ore.LockedFile{Path: name, Mode: uint32(info.Mode().Perm())}
	switch {
	case info.IsDir():
		out.Mode |= syscall.S_IFDIR
	case info.Mode()&fs.ModeSymlink != 0:
		out.Mode = syscall.S_IFLNK | 0o777
		if out.Link, err = os.Readlink(host); err != nil {
			return err
		}
	case info.Mode().IsRegular():
		if mode != 0 {
			out.Mode = mode
		}
		out.Mode |= syscall.S_IFREG
		if out.Digest, out.Size, err = hashFile(host); err != nil {
			return err
		}
		l.sources[out.Digest] = host
	default:
		return fmt.Errorf("source %s: a %s: only files, folders and links can be copied", host, info.Mode().Type())
	}
	l.files = append(l.files, out)
	return nil
}

func hashFile(p string) (ore.Digest, int64, error) {
	f, err := os.Open(p)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return "", 0, err
	}
	return ore.NewDigest([sha256.Size]byte(h.Sum(nil))), n, nil
}
