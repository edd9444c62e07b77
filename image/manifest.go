package image

import (
	"encoding/json"
	"fmt"

	"ore"
)

// MaxLayers is how many layers an image may have: User Mode Linux has eight
// block devices, one is the private disk, and two are kept for what a job mounts.
const MaxLayers = 5

// ManifestVersion changes when the meaning of a manifest's fields does.
const ManifestVersion = 1

// maxManifest bounds what is read of a manifest: the largest suites have
// 70,000 packages of some 250 bytes each.
const maxManifest = 64 << 20

// Manifest lists what an image is made of.
type Manifest struct {
	Version      int
	Key          ore.Key         // of Environment
	Environment  ore.Environment // what was asked
	Tree         ore.Digest      // of the merged tree's listing
	Layers       []Layer         // lowest first
	Capabilities []Capability    `json:",omitempty"`
	Bytes        int64           // sum of the sizes of the regular files in the merged tree
	Files        int             // entries in the merged tree
	// Apart names the steps that ran by what they need alone although others were before
	// them: of these it is known what they do where other steps are before them.
	Apart []string `json:",omitempty"`
}

// Layer is one squashfs file of an image.
type Layer struct {
	Digest      ore.Digest
	Size        int64
	Compression string  // as package squashfs names it
	Key         ore.Key // of the environment that ends with this layer
	// Root of its chunk list (package chunk), so that who signs the manifest answers
	// for every range of the layer; "" in manifests from before there were roots, and
	// for large layers.
	Root ore.Digest `json:",omitempty"`
}

// Capability is the security.capability attribute of one file.
type Capability struct {
	Path  string // relative to the root
	Value []byte // struct vfs_cap_data, revision 2 (linux/capability.h)
}

// Encode returns the manifest's canonical bytes, whose digest is the image's.
func (m Manifest) Encode() []byte {
	m.Version = ManifestVersion
	b, err := json.Marshal(m)
	if err != nil {
		panic("image: a manifest holds only strings, numbers and lists: " + err.Error())
	}
	return b
}

// Digest returns the digest of the manifest's canonical bytes.
func (m Manifest) Digest() ore.Digest { return ore.DigestOf(m.Encode()) }

// Size returns the sum of the layers' sizes in bytes.
func (m Manifest) Size() int64 {
	var n int64
	for _, l := range m.Layers {
		n += l.Size
	}
	return n
}

// DecodeManifest reads and checks the bytes that Encode made.
func DecodeManifest(b []byte) (Manifest, error) {
	var m Manifest
	if len(b) > maxManifest {
		return m, fmt.Errorf("manifest: %d bytes, more than %d", len(b), maxManifest)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	return m, m.check()
}

func (m Manifest) check() error {
	switch {
	case m.Version != ManifestVersion:
		return fmt.Errorf("manifest: version %d, this ore reads %d: build the image again", m.Version, ManifestVersion)
	case len(m.Layers) == 0 || len(m.Layers) > MaxLayers:
		return fmt.Errorf("manifest: %d layers, not 1 to %d", len(m.Layers), MaxLayers)
	case m.Key != m.Environment.Key():
		return fmt.Errorf("manifest: key %s is not that of its environment", m.Key.Short())
	case m.Tree.Hex() == "":
		return fmt.Errorf("manifest: tree digest %q is malformed", m.Tree)
	}
	for i, l := range m.Layers {
		if l.Digest.Hex() == "" || l.Size <= 0 {
			return fmt.Errorf("manifest: layer %d: digest %q of %d bytes is malformed", i, l.Digest, l.Size)
		}
		if l.Root != "" && l.Root.Hex() == "" {
			return fmt.Errorf("manifest: layer %d: root %q is malformed", i, l.Root)
		}
	}
	return nil
}
