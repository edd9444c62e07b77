package capture

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"ore"
	"ore/image"
)

// Left is the folder, at a machine's root, where Leave leaves an image:
//
//	manifest   the manifest
//	HEX        one of its layers
const Left = ".ore-image"

// manifestName is the file of Left that has the manifest.
const manifestName = "manifest"

// Leave has an image stay on a machine whose file systems are mounted at target: its
// manifest, and those of its layers, which are taken out of the store, that base,
// which may be nil, has not.
func Leave(target string, m image.Manifest, store *image.Store, base *image.Manifest) error {
	folder := filepath.Join(target, Left)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for _, l := range m.Layers {
		if base != nil && slices.ContainsFunc(base.Layers, func(b image.Layer) bool { return b.Digest == l.Digest }) {
			continue
		}
		path, err := store.Path(l.Digest)
		if err != nil {
			return err
		}
		if err := os.Rename(path, filepath.Join(folder, l.Digest.Hex())); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, manifestName), m.Encode(), 0o600)
}

// Reader writes a file of a machine, by its path from the root, as a tar stream to w,
// which has nothing in it if there is no such file.
type Reader func(ctx context.Context, path string, w io.Writer) error

// Begin reads the manifest of the image that was left on a machine. It is called before
// the machine runs anything of a job: what is read later has the digests that stand
// there, or is not taken.
func (v *Receiver) Begin(ctx context.Context, read Reader) error {
	var manifest bytes.Buffer
	err := v.file(ctx, read, manifestName, func(r io.Reader) error {
		_, err := io.Copy(&manifest, io.LimitReader(r, maxManifest))
		return err
	})
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.left = nil; err == nil {
		v.left = manifest.Bytes()
	}
	return err
}

// Collect takes the image whose manifest Begin has read. Both may be called again when
// one has failed, also for another machine. As with requests, what has come whole is
// looked at beside it: Close says what became of it.
func (v *Receiver) Collect(ctx context.Context, read Reader, watch ore.Watcher) error {
	v.mu.Lock()
	manifest := v.left
	v.mu.Unlock()
	wanted, err := v.take(ctx, manifest)
	if err != nil || len(wanted) == 0 {
		return err
	}
	got := 0
	for _, d := range wanted {
		size, err := v.named(d)
		if err != nil {
			return err
		}
		watch.Tell(ore.Event{Stage: Stage, Done: int64(got), Total: int64(len(wanted)), Text: fmt.Sprintf("layer %s, %d bytes", d.Short(), size)})
		if err := v.file(ctx, read, d.Hex(), func(r io.Reader) error {
			return v.config.Store.PutStream(ctx, d, io.LimitReader(r, size))
		}); err != nil {
			return fmt.Errorf("layer %s: %w", d.Short(), err)
		}
		got++
	}
	_, err = v.take(ctx, manifest)
	return err
}

// file has do read one file of a machine's folder Left.
func (v *Receiver) file(ctx context.Context, read Reader, name string, do func(io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	name = path.Join(Left, name)
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(read(ctx, name, w))
	}()
	defer func() { // whatever else comes is not waited for
		r.Close()
		cancel()
		<-done
	}()
	t := tar.NewReader(r)
	h, err := t.Next()
	switch {
	case errors.Is(err, io.EOF):
		return ErrNothing
	case err != nil:
		return err
	case h.Typeflag != tar.TypeReg || h.Name != name:
		return fmt.Errorf("the machine sent %.100q", h.Name)
	}
	return do(t)
}
