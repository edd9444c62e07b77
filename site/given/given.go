// Package given names the files that a job file gives by their content.
package given

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"ore"
	"ore/image"
	"ore/site/inputs"
)

// Lock turns the files of a wish into entries named by content, and says where on
// the host each content is. Contents that stand in the job file are kept as blobs
// in store, so that a lock can be built without it; memo knows files that were read
// before.
func Lock(ctx context.Context, store *image.Store, memo inputs.Memo, files []ore.File) ([]ore.LockedFile, map[ore.Digest]string, error) {
	l := &locker{store: store, memo: memo, sources: map[ore.Digest]string{}}
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
	memo    inputs.Memo
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

// Sources is what the memo has the files of a source under.
const Sources = "files"

// source adds a host file or folder. It is read only if it looks otherwise than
// when it was read last.
func (l *locker) source(f ore.File) error {
	list, err := inputs.Look(f.Source)
	if err != nil {
		return err
	}
	var found []ore.LockedFile // with paths relative to the source
	if !l.memo.Recall(Sources, list, &found) || len(found) != len(list.Entries) {
		if found, err = read(list); err != nil {
			return err
		}
		after, err := inputs.Look(list.Top)
		if err != nil {
			return err
		}
		l.memo.Keep(Sources, list, after, found)
	}
	for _, e := range found {
		if e.Digest != "" {
			l.sources[e.Digest] = filepath.Join(list.Top, e.Path)
			if f.Mode != 0 {
				e.Mode = syscall.S_IFREG | f.Mode
			}
		}
		e.Path = path.Join(f.Path, filepath.ToSlash(e.Path))
		l.files = append(l.files, e)
	}
	return nil
}

// read hashes the files of a listing.
func read(list inputs.Listing) ([]ore.LockedFile, error) {
	all := make([]ore.LockedFile, 0, len(list.Entries))
	for _, e := range list.Entries {
		out := ore.LockedFile{Path: e.Path, Mode: uint32(e.Mode.Perm()), Link: e.Link}
		switch {
		case e.Mode.IsDir():
			out.Mode |= syscall.S_IFDIR
		case e.Link != "":
			out.Mode = syscall.S_IFLNK | 0o777
		default:
			var err error
			out.Mode |= syscall.S_IFREG
			if out.Digest, out.Size, err = Digest(filepath.Join(list.Top, e.Path)); err != nil {
				return nil, err
			}
		}
		all = append(all, out)
	}
	return all, nil
}

// Digest returns the digest of the file at p, and its size.
func Digest(p string) (ore.Digest, int64, error) {
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

// AddKept finds the contents that stood in a job file in the store, where the lock of
// that job kept them.
func AddKept(store *image.Store, files []ore.LockedFile, sources map[ore.Digest]string) {
	for _, f := range files {
		if f.Digest == "" || sources[f.Digest] != "" {
			continue
		}
		if p, err := store.Path(f.Digest); err == nil {
			if _, err := os.Stat(p); err == nil {
				sources[f.Digest] = p
			}
		}
	}
}
