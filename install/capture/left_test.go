package capture

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore/image"
)

// leave has an image stay at a target, and returns a reader of what is there.
func (w *world) leave(t *testing.T, base *image.Manifest) (target string, read Reader) {
	t.Helper()
	target = t.TempDir()
	if err := Leave(target, w.image, w.machine, base); err != nil {
		t.Fatal(err)
	}
	return target, func(_ context.Context, name string, to io.Writer) error {
		q := tar.NewWriter(to)
		b, err := os.ReadFile(filepath.Join(target, name))
		if errors.Is(err, os.ErrNotExist) {
			return q.Close()
		}
		if err == nil {
			err = q.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(b))})
		}
		if err == nil {
			_, err = q.Write(b)
		}
		return errors.Join(err, q.Close())
	}
}

// collect reads what was left.
func collect(t *testing.T, v *Receiver, read Reader) error {
	t.Helper()
	if err := v.Begin(t.Context(), read); err != nil {
		return err
	}
	return v.Collect(t.Context(), read, nil)
}

// manifestPath is where a machine's manifest is.
const manifestPath = Left + "/" + manifestName

// What a machine left on its disk is read with exactly those layers that the host
// lacks, and kept; of a base that came from there, nothing was left.
func TestLeave(t *testing.T) {
	w := newWorld(t)
	path, err := w.machine.Path(w.image.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.host.PutBytes(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	base := w.image
	base.Layers = base.Layers[:1]
	target, read := w.leave(t, &base)
	if left, err := os.ReadDir(filepath.Join(target, Left)); err != nil || len(left) != 2 {
		t.Errorf("left %v, %v", left, err)
	}
	var names []string
	v := New(t.Context(), w.config)
	err = collect(t, v, func(ctx context.Context, name string, to io.Writer) error {
		names = append(names, name)
		return read(ctx, name, to)
	})
	if kept := v.Close(); err != nil || kept != nil {
		t.Fatalf("%v, %v", err, kept)
	}
	if want := manifestPath + " " + Left + "/" + w.image.Layers[1].Digest.Hex(); strings.Join(names, " ") != want {
		t.Errorf("read %q, want %q", names, want)
	}
	if len(w.kept) != 1 || w.kept[0].Digest() != w.image.Digest() {
		t.Errorf("%+v", w.kept)
	}
}

// Whatever a machine leaves or sends that is no image, and its loss in the midst, is an
// error, and nothing is kept. Who reads it again goes on.
func TestLeftWrongly(t *testing.T) {
	lost := errors.New("host h1 is lost")
	one := func(h tar.Header) Reader {
		return func(_ context.Context, _ string, to io.Writer) error {
			q := tar.NewWriter(to)
			h.Size = 1
			return errors.Join(q.WriteHeader(&h), second(q.Write([]byte("x"))), q.Close())
		}
	}
	for _, c := range []struct {
		summary string
		read    func(w *world, good Reader) Reader
		want    string
	}{
		{"nothing", func(*world, Reader) Reader {
			return func(_ context.Context, _ string, to io.Writer) error { return tar.NewWriter(to).Close() }
		}, ErrNothing.Error()},
		{"another file", func(*world, Reader) Reader { return one(tar.Header{Typeflag: tar.TypeReg, Name: "etc/shadow"}) }, `the machine sent "etc/shadow"`},
		{"no file", func(*world, Reader) Reader {
			return one(tar.Header{Typeflag: tar.TypeFifo, Name: manifestPath})
		}, `the machine sent ".ore-image/manifest"`},
		{"no manifest", func(*world, Reader) Reader { return one(tar.Header{Typeflag: tar.TypeReg, Name: manifestPath}) }, "manifest"},
		{"another layer", func(w *world, good Reader) Reader {
			return func(ctx context.Context, name string, to io.Writer) error {
				if name == manifestPath {
					return good(ctx, name, to)
				}
				return one(tar.Header{Typeflag: tar.TypeReg, Name: name})(ctx, name, to)
			}
		}, image.ErrRotten.Error()},
		{"a layer that is endless", func(w *world, good Reader) Reader {
			return func(ctx context.Context, name string, to io.Writer) error {
				if name == manifestPath {
					return good(ctx, name, to)
				}
				q := tar.NewWriter(to)
				err := q.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 1 << 40})
				for err == nil {
					_, err = q.Write(make([]byte, 1<<16))
				}
				return err
			}
		}, image.ErrRotten.Error()},
		{"the host is lost", func(_ *world, good Reader) Reader {
			return func(ctx context.Context, name string, to io.Writer) error {
				if name == manifestPath {
					return good(ctx, name, to)
				}
				var b bytes.Buffer
				if err := good(ctx, name, &b); err != nil {
					return err
				}
				return errors.Join(second(to.Write(b.Bytes()[:600])), lost)
			}
		}, lost.Error()},
	} {
		t.Run(c.summary, func(t *testing.T) {
			w := newWorld(t)
			_, good := w.leave(t, nil)
			v := New(t.Context(), w.config)
			if err := collect(t, v, c.read(w, good)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			err := collect(t, v, good)
			if kept := v.Close(); err != nil || kept != nil || len(w.kept) != 1 {
				t.Errorf("read again: %v, %v, %d kept", err, kept, len(w.kept))
			}
		})
	}
	w := newWorld(t)
	_, good := w.leave(t, nil)
	w.image.Environment.Packages = w.image.Environment.Packages[:1]
	w.config.Environment = w.image.Environment
	v := New(t.Context(), w.config)
	if err := collect(t, v, good); err == nil || !strings.Contains(err.Error(), "was to be installed") {
		t.Errorf("of another environment: %v", err)
	}
	if err := v.Close(); err == nil || len(w.kept) > 0 {
		t.Errorf("of another environment: %v, kept %v", err, w.kept)
	}
}

// A job that puts another image in the place of the one that was left, whose manifest
// and layers fit each other and the environment, has it refused.
func TestLeftIsReplaced(t *testing.T) {
	w := newWorld(t)
	target, read := w.leave(t, nil)
	v := New(t.Context(), w.config)
	if err := v.Begin(t.Context(), read); err != nil {
		t.Fatal(err)
	}
	other := w.make(t, w.image.Environment, []file{
		{".", "", fs.ModeDir | 0o755}, {"bin", "", fs.ModeDir | 0o755}, {"bin/tool", "the job's", 0o4755},
		{"var", "", fs.ModeDir | 0o755}, {"var/lib", "", fs.ModeDir | 0o755}, {"var/lib/dpkg", "", fs.ModeDir | 0o755}, {"var/lib/dpkg/status", database, 0o644},
	})
	if err := errors.Join(os.RemoveAll(filepath.Join(target, Left)), Leave(target, other, w.machine, nil)); err != nil {
		t.Fatal(err)
	}
	if err := v.Collect(t.Context(), read, nil); err == nil {
		t.Error("it is taken")
	}
	if err := v.Close(); err == nil || len(w.kept) > 0 {
		t.Errorf("%v, kept %+v", err, w.kept)
	}
	v = New(t.Context(), w.config) // the other is one that would be kept, had it been there at first
	if err := errors.Join(collect(t, v, read), v.Close()); err != nil || len(w.kept) != 1 {
		t.Errorf("the other alone: %v, kept %d", err, len(w.kept))
	}
}

// second is a writer's error.
func second(_ int, err error) error { return err }
