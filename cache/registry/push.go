package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"ore"
	"ore/image"
	"ore/image/export"
	"ore/image/sbom"
)

// Push sends the image m, whose layers are in s, in both forms. What the
// repository has is not sent again. signatures may be nil.
func (r *Remote) Push(ctx context.Context, s *image.Store, m image.Manifest, signatures []byte) error {
	if err := r.push(ctx, s, m, signatures); err != nil {
		return fmt.Errorf("push %s to %s: %w", m.Key.Short(), r.address, err)
	}
	return nil
}

func (r *Remote) push(ctx context.Context, s *image.Store, m image.Manifest, signatures []byte) error {
	release, err := s.Hold(ctx, m)
	if err != nil {
		return err
	}
	defer release()
	subject, err := r.pushOCI(ctx, s, m)
	if err != nil {
		return err
	}
	a := ocispec.Manifest{
		Versioned: versioned(), MediaType: ocispec.MediaTypeImageManifest, ArtifactType: typeArtifact,
		Config: ocispec.DescriptorEmptyJSON, Subject: &subject,
	}
	if a.Annotations, err = annotations(m); err != nil {
		return err
	}
	if err := r.pushBytes(ctx, a.Config, ocispec.DescriptorEmptyJSON.Data); err != nil {
		return err
	}
	materials, err := sbom.SPDX(m)
	if err != nil {
		return err
	}
	small := []struct {
		mediaType string
		bytes     []byte
	}{{typeManifest, m.Encode()}, {typeSignatures, signatures}, {typeMaterials, materials}}
	for _, b := range small {
		if b.bytes == nil {
			continue
		}
		d := descriptor(b.mediaType, ore.DigestOf(b.bytes), int64(len(b.bytes)))
		if err := r.pushBytes(ctx, d, b.bytes); err != nil {
			return err
		}
		a.Layers = append(a.Layers, d)
	}
	layers, err := r.pushLayers(ctx, s, m)
	if err != nil {
		return err
	}
	a.Layers = append(a.Layers, layers...)
	return r.pushManifest(ctx, a, string(m.Key)+suffix)
}

// pushLayers sends the squashfs layers.
func (r *Remote) pushLayers(ctx context.Context, s *image.Store, m image.Manifest) ([]ocispec.Descriptor, error) {
	var all []ocispec.Descriptor
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	for _, l := range m.Layers {
		d := descriptor(typeLayer, l.Digest, l.Size)
		all = append(all, d)
		path, err := s.Path(l.Digest)
		if err != nil {
			return nil, errors.Join(err, g.Wait())
		}
		g.Go(func() error { return r.pushFile(ctx, d, path) })
	}
	return all, g.Wait()
}

// pushOCI sends the image as an OCI image and returns its descriptor.
func (r *Remote) pushOCI(ctx context.Context, s *image.Store, m image.Manifest) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	if d, err := r.repo.Resolve(ctx, string(m.Key)); err == nil {
		return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}, nil
	}
	dir, err := os.MkdirTemp("", "ore-push-")
	if err != nil {
		return none, err
	}
	defer os.RemoveAll(dir)
	layout := filepath.Join(dir, "layout")
	if err := export.Write(ctx, s, m, export.OCI, layout); err != nil {
		return none, err
	}
	var index ocispec.Index
	if err := readJSON(filepath.Join(layout, "index.json"), &index); err != nil {
		return none, err
	}
	if len(index.Manifests) != 1 {
		return none, fmt.Errorf("layout has %d images, not one", len(index.Manifests))
	}
	blob := func(d ocispec.Descriptor) string { return filepath.Join(layout, "blobs", "sha256", d.Digest.Encoded()) }
	d := index.Manifests[0]
	var oci ocispec.Manifest
	if err := readJSON(blob(d), &oci); err != nil {
		return none, err
	}
	for _, b := range append(oci.Layers, oci.Config) {
		if err := r.pushFile(ctx, b, blob(b)); err != nil {
			return none, err
		}
	}
	b, err := os.ReadFile(blob(d))
	if err != nil {
		return none, err
	}
	d.Annotations = nil // they name the image in its layout
	return d, r.repo.PushReference(ctx, d, bytes.NewReader(b), string(m.Key))
}

func (r *Remote) pushManifest(ctx context.Context, a ocispec.Manifest, tag string) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if len(b) > maxManifest {
		return fmt.Errorf("its manifest has %d bytes, registries take %d: split the environment", len(b), maxManifest)
	}
	d := descriptor(ocispec.MediaTypeImageManifest, ore.DigestOf(b), int64(len(b)))
	d.ArtifactType = typeArtifact
	return r.repo.PushReference(ctx, d, bytes.NewReader(b), tag)
}

func (r *Remote) pushBytes(ctx context.Context, d ocispec.Descriptor, b []byte) error {
	return r.pushReader(ctx, d, bytes.NewReader(b))
}

func (r *Remote) pushFile(ctx context.Context, d ocispec.Descriptor, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return r.pushReader(ctx, d, f)
}

func (r *Remote) pushReader(ctx context.Context, d ocispec.Descriptor, content io.ReadSeeker) error {
	there, err := r.repo.Blobs().Exists(ctx, d)
	if err != nil || there {
		return err
	}
	return r.repo.Blobs().Push(ctx, d, content)
}

// annotations are what a reader can choose an image by.
func annotations(m image.Manifest) (map[string]string, error) {
	lock, err := json.Marshal(m.Environment)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(m.Environment.Packages))
	for i, p := range m.Environment.Packages {
		names[i] = p.String()
	}
	return map[string]string{
		annotationPackages: strings.Join(names, "\n"),
		annotationLock:     string(lock),
		annotationTree:     string(m.Tree),
	}, nil
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// limited reads at most left bytes and then fails, so that an endless blob
// fills no disk.
type limited struct {
	r        io.Reader
	left     int64
	progress func(n int64) // told of what is read; may be nil
}

func (l *limited) Read(b []byte) (int, error) {
	if l.left < 0 {
		return 0, errors.New("more bytes than were announced")
	}
	if int64(len(b)) > l.left+1 {
		b = b[:l.left+1]
	}
	n, err := l.r.Read(b)
	l.left -= int64(n)
	if l.progress != nil {
		l.progress(int64(n))
	}
	return n, err
}
