package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"ore"
)

// Media types of the OCI image specification.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+zstd"
)

// Annotations of the manifest. The lock's digest names a blob of the layout,
// the environment as JSON.
const (
	annotationKey     = "ore.key"
	annotationTree    = "ore.tree"
	annotationImage   = "ore.image"
	annotationLock    = "ore.lock"
	annotationCreated = "org.opencontainers.image.created"
	annotationRef     = "org.opencontainers.image.ref.name"
)

// refName is what the image is called in its layout, as in "oci:DIR:latest".
const refName = "latest"

// encoders is how many goroutines compress a layer. It is fixed, since with
// one the compressor goes another way and its bytes may differ.
const encoders = 2

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      ore.Digest        `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type ociManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type ociIndex struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type ociConfig struct {
	Created      time.Time `json:"created"`
	Architecture string    `json:"architecture"`
	Variant      string    `json:"variant,omitempty"`
	OS           string    `json:"os"`
	Config       struct {
		Env []string `json:"Env"`
		Cmd []string `json:"Cmd"`
	} `json:"config"`
	RootFS struct {
		Type    string       `json:"type"`
		DiffIDs []ore.Digest `json:"diff_ids"`
	} `json:"rootfs"`
	History []ociHistory `json:"history"`
}

type ociHistory struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

// created is every time in a configuration: the same image has the same bytes
// whenever it is exported.
func created() time.Time { return time.Unix(0, 0).UTC() }

// writeOCI writes an image layout to the folder dir, which does not exist.
func writeOCI(ctx context.Context, dir string, s *stack) error {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o777); err != nil {
		return err
	}
	m := ociManifest{SchemaVersion: 2, MediaType: typeManifest}
	c := newConfig(s.manifest.Environment.Arch)
	for i := range s.layers {
		d, diff, err := writeLayer(ctx, blobs, s.layer(i))
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		m.Layers = append(m.Layers, d)
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, diff)
		c.History = append(c.History, ociHistory{created(), "ore: layer " + s.manifest.Layers[i].Digest.Short()})
	}
	lock, err := writeJSON(blobs, "", s.manifest.Environment)
	if err != nil {
		return err
	}
	m.Annotations = map[string]string{
		annotationKey:     string(s.manifest.Key),
		annotationTree:    string(s.manifest.Tree),
		annotationImage:   string(s.manifest.Digest()),
		annotationLock:    string(lock.Digest),
		annotationCreated: created().Format(time.RFC3339),
	}
	if m.Config, err = writeJSON(blobs, typeConfig, c); err != nil {
		return err
	}
	d, err := writeJSON(blobs, typeManifest, m)
	if err != nil {
		return err
	}
	d.Annotations = map[string]string{annotationRef: refName}
	index, err := json.Marshal(ociIndex{2, typeIndex, []descriptor{d}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o666); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "index.json"), index, 0o666)
}

// newConfig returns the configuration of an image for Debian's architecture
// arch, which Go, and with it OCI, may call otherwise.
func newConfig(arch string) ociConfig {
	c := ociConfig{Created: created(), Architecture: arch, OS: "linux"}
	switch arch {
	case "i386":
		c.Architecture = "386"
	case "armhf":
		c.Architecture, c.Variant = "arm", "v7"
	case "armel":
		c.Architecture, c.Variant = "arm", "v5"
	case "ppc64el":
		c.Architecture = "ppc64le"
	case "mips64el":
		c.Architecture = "mips64le"
	}
	c.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	c.Config.Cmd = []string{"/bin/sh"}
	c.RootFS.Type = "layers"
	return c
}

// writeJSON writes v as a blob.
func writeJSON(blobs, mediaType string, v any) (descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	d := descriptor{MediaType: mediaType, Digest: ore.DigestOf(b), Size: int64(len(b))}
	return d, os.WriteFile(filepath.Join(blobs, d.Digest.Hex()), b, 0o666)
}

// counter hashes and counts what goes through it.
type counter struct {
	w io.Writer
	h hash.Hash
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.h.Write(b[:n])
	c.n += int64(n)
	return n, err
}

func (c *counter) digest() ore.Digest { return ore.NewDigest([sha256.Size]byte(c.h.Sum(nil))) }

// writeLayer writes a layer as a blob and returns its descriptor and the
// digest of the archive before compression.
func writeLayer(ctx context.Context, blobs string, list []entry) (descriptor, ore.Digest, error) {
	for _, e := range list {
		if !isWhiteout(e.Entry) && strings.HasPrefix(path.Base(e.Path), whiteoutPrefix) {
			return descriptor{}, "", fmt.Errorf("%s: OCI takes such a name for a removal: export to another format", e.Path)
		}
	}
	f, err := os.Create(filepath.Join(blobs, "layer"))
	if err != nil {
		return descriptor{}, "", err
	}
	defer f.Close()
	packed := &counter{w: f, h: sha256.New()}
	z, err := zstd.NewWriter(packed, zstd.WithEncoderConcurrency(encoders))
	if err != nil {
		return descriptor{}, "", err
	}
	plain := &counter{w: z, h: sha256.New()}
	b := bufio.NewWriterSize(plain, writeBuffer)
	err = writeArchive(ctx, b, list)
	if err == nil {
		err = b.Flush()
	}
	if cerr := z.Close(); err == nil { // also ends the compressor's goroutines
		err = cerr
	}
	if err != nil {
		return descriptor{}, "", err
	}
	d := descriptor{MediaType: typeLayer, Digest: packed.digest(), Size: packed.n}
	return d, plain.digest(), os.Rename(f.Name(), filepath.Join(blobs, d.Digest.Hex()))
}
