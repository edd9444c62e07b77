package inputs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"ore"
	"ore/cache"
	"ore/cache/flight"
	"ore/image"
)

// Distribution is the base of environments that are inputs, where others have
// "debian"; their suite is "folder" or "file".
const Distribution = "input"

// Keeper makes inputs and finds them again. Its methods may be called
// concurrently, also by other processes.
type Keeper struct {
	cache  *cache.Cache
	memo   Memo
	works  *flight.Group
	now    func() time.Time
	writes func(source string) // told of each blob that is written; nil tells nobody
}

// Open returns the keeper that keeps blobs in c, and what it knows of sources in
// the folder dir.
func Open(dir string, c *cache.Cache) (*Keeper, error) {
	locks := filepath.Join(dir, "locks")
	if err := os.MkdirAll(locks, 0o700); err != nil {
		return nil, err
	}
	return &Keeper{cache: c, memo: MemoOf(dir), works: flight.New(locks), now: time.Now}, nil
}

// MemoOf returns the memo in a keeper's folder.
func MemoOf(dir string) Memo { return Memo{Dir: filepath.Join(dir, "memo")} }

// kind is what the memo has the keys of blobs under.
const kind = "blob"

// Input returns the image of a host file or folder, and makes it if there is
// none. It is held until release is called. Of all who ask for one source at
// once, one makes it and the others wait.
func (k *Keeper) Input(ctx context.Context, source string, watch ore.Watcher) (m image.Manifest, release func(), err error) {
	l, err := look(source, k.now())
	if err != nil {
		return m, nil, err
	}
	ready := func(ctx context.Context) (bool, error) {
		var key ore.Key
		if !k.memo.Recall(kind, l, &key) {
			return false, nil
		}
		m, release, err = k.cache.Acquire(ctx, key)
		if errors.Is(err, image.ErrMissing) {
			return false, nil
		}
		return err == nil, err
	}
	sum := sha256.Sum256([]byte(l.Top))
	made := false
	err = k.works.Do(ctx, hex.EncodeToString(sum[:16]), watch, ready, func(ctx context.Context, tell ore.Watcher) (err error) {
		made = true
		if m, err = k.make(ctx, l, tell); err == nil {
			release, err = k.cache.Hold(ctx, m)
		}
		return err
	})
	if err == nil && !made {
		err = k.cache.Touch(ctx, m.Key)
	}
	if err != nil && release != nil {
		release()
	}
	return m, release, err
}

// make reads the source and registers what it has.
func (k *Keeper) make(ctx context.Context, l Listing, tell ore.Watcher) (image.Manifest, error) {
	begun := time.Now()
	o, err := choose(ctx, l)
	if err != nil {
		return image.Manifest{}, err
	}
	room, err := k.cache.Reserve(ctx, l.Bytes, "an input")
	if err != nil {
		return image.Manifest{}, err
	}
	defer room.Release()
	var tree ore.Digest
	var after Listing
	d, size, err := k.cache.Put(ctx, func(f *os.File) (err error) {
		if k.writes != nil {
			k.writes(l.Top)
		}
		if tree, err = write(ctx, f, l, o, progress(l.Bytes, tell)); err != nil {
			return err
		}
		if after, err = look(l.Top, k.now()); err == nil && after.Stamp != l.Stamp {
			err = ErrChanged
		}
		return err
	})
	if err != nil {
		return image.Manifest{}, err
	}
	m := manifest(l, tree, image.Layer{Digest: d, Size: size, Compression: string(o.Compression)})
	if was, err := k.cache.Find(ctx, m.Key); err == nil && was.Layers[0].Digest == d {
		m = was
	} else if m, err = k.cache.Register(ctx, m, time.Since(begun)); err != nil {
		return m, err
	}
	k.memo.Keep(kind, l, after, m.Key)
	return m, nil
}

// manifest is that of the image of l.
func manifest(l Listing, tree ore.Digest, layer image.Layer) image.Manifest {
	name, suite, mode := filepath.Base(l.Top), "folder", uint32(syscall.S_IFDIR|0o755)
	if l.Entries[0].Mode.IsRegular() {
		suite, mode = "file", syscall.S_IFREG|0o644
	}
	env := ore.Environment{
		Version: ore.EnvironmentVersion, Base: ore.Base{Distribution: Distribution, Suite: suite}, Manual: []string{name},
		Files: []ore.LockedFile{{Path: "/" + name, Mode: mode, Digest: tree, Size: l.Bytes}},
	}
	layer.Key = env.Key()
	return image.Manifest{
		Version: image.ManifestVersion, Key: layer.Key, Environment: env, Tree: tree, Layers: []image.Layer{layer},
		Bytes: l.Bytes, Files: len(l.Entries),
	}
}

// IsFile says whether the image of an input is that of a file.
func IsFile(m image.Manifest) bool { return m.Environment.Base.Suite == "file" }

// tellEach bounds how often progress is told.
const tellEach = 64 << 20

// progress tells how much of an input was read.
func progress(total int64, tell ore.Watcher) func(done int64) {
	var last int64
	return func(done int64) {
		if done-last >= tellEach {
			last = done
			tell.Tell(ore.Event{Stage: "inputs", Done: done, Total: total})
		}
	}
}
