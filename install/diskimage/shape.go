package diskimage

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"ore"
	"ore/image"
	"ore/image/export/ext4"
	"ore/install/disk"
)

// Distribution is that of the base of environments that are disk images, where
// others have "debian".
const Distribution = "disk"

// format is the suite of such environments: another one where the meaning of a
// layer's names is.
const format = "1"

// Limits, each with its reason.
const (
	// maxParts is what the names of folders count to.
	maxParts = 999
	// maxBytes is what the names of ranges count to.
	maxBytes = 1 << 48
	// maxLabel is what ext4 has room for.
	maxLabel = 16
)

// Part is a partition whose content is in an image.
type Part struct {
	Disk   int    // of the layout, from 0
	Number int    // of its partition there, from 1
	Mount  string // of its file system, which is ext4
	Bytes  int64
}

// Shape is what a disk image depends on beside the tree.
type Shape struct {
	Parts []Part
	Empty []string `json:",omitempty"` // where other file systems are mounted, which are empty
}

// ShapeOf returns the shape of a layout's image, or says why there is none.
func ShapeOf(l disk.Layout) (Shape, error) {
	var s Shape
	if len(l.Arrays)+len(l.Groups) > 0 {
		return s, errors.New("a disk image has no volumes and no arrays: use image, base or packages")
	}
	for i, d := range l.Disks {
		for k, m := range d.Parts {
			switch {
			case m.FS == "ext4" && m.Mount != "" && len(m.Label) <= maxLabel:
				s.Parts = append(s.Parts, Part{Disk: i, Number: k + 1, Mount: m.Mount, Bytes: m.Bytes})
			case m.Mount != "":
				s.Empty = append(s.Empty, m.Mount)
			}
		}
	}
	slices.Sort(s.Empty)
	if !slices.ContainsFunc(s.Parts, func(p Part) bool { return p.Mount == "/" }) {
		return s, errors.New("a disk image has its root on ext4: use image, base or packages")
	}
	return s, s.Check()
}

// Check says what is wrong with a shape that somebody sent.
func (s Shape) Check() error {
	if len(s.Parts) == 0 || len(s.Parts) > maxParts {
		return fmt.Errorf("disk image: %d partitions: it has 1 to %d", len(s.Parts), maxParts)
	}
	mounts := map[string]bool{}
	for _, m := range append(slices.Clone(s.Empty), s.mounts()...) {
		if !path.IsAbs(m) || path.Clean(m) != m || mounts[m] {
			return fmt.Errorf("disk image: mount point %.80q: malformed, or twice", m)
		}
		mounts[m] = true
	}
	for _, p := range s.Parts {
		if p.Disk < 0 || p.Number < 1 || p.Bytes < ext4.HeadSize || p.Bytes > maxBytes {
			return fmt.Errorf("disk image: partition %d of disk %d with %d bytes: malformed", p.Number, p.Disk, p.Bytes)
		}
	}
	return nil
}

// mounts returns where the parts are mounted.
func (s Shape) mounts() []string {
	var all []string
	for _, p := range s.Parts {
		all = append(all, p.Mount)
	}
	return all
}

// Has says whether a file system is one of the image's, and need not be made.
func (s Shape) Has(m disk.Made) bool {
	return m.FS == "ext4" && slices.Contains(s.mounts(), m.Mount)
}

// Fits says why a disk image of this shape is none of a layout's, if it is none.
func (s Shape) Fits(l disk.Layout) error {
	own, err := ShapeOf(l)
	if err != nil {
		return err
	}
	if len(own.Parts) != len(s.Parts) || !slices.Equal(own.Empty, s.Empty) {
		return errors.New("the disk image is of other file systems")
	}
	for i, p := range own.Parts {
		if w := s.Parts[i]; p != w {
			return fmt.Errorf("the disk image is of %d bytes for %s, and partition %d of disk %d has %d for %s", w.Bytes, w.Mount, p.Number, p.Disk+1, p.Bytes, p.Mount)
		}
	}
	return nil
}

// Environment returns what the disk image of a tree and a shape is registered as.
// Its names say what it is of, for people and for the key.
func Environment(tree ore.Key, s Shape) ore.Environment {
	e := ore.Environment{Version: ore.EnvironmentVersion, Base: ore.Base{Distribution: Distribution, Suite: format}, Manual: []string{"image " + string(tree)}}
	for _, p := range s.Parts {
		e.Manual = append(e.Manual, fmt.Sprintf("disk %d partition %d: %s, %d bytes", p.Disk+1, p.Number, p.Mount, p.Bytes))
	}
	for _, m := range s.Empty {
		e.Manual = append(e.Manual, m+": empty")
	}
	e.Sort()
	return e
}

// Disk is a disk image as a machine is told of it.
type Disk struct {
	Layer image.Layer
	Shape
}

// Check says what is wrong with a disk image that somebody sent.
func (d Disk) Check() error {
	if d.Layer.Digest.Hex() == "" || d.Layer.Size <= 0 {
		return fmt.Errorf("disk image: layer %.80q of %d bytes: malformed", d.Layer.Digest, d.Layer.Size)
	}
	return d.Shape.Check()
}

// Of returns the disk image that a manifest is of.
func Of(m image.Manifest, s Shape) (Disk, error) {
	if m.Environment.Base.Distribution != Distribution || len(m.Layers) != 1 {
		return Disk{}, fmt.Errorf("image %s: it is no disk image", m.Key.Short())
	}
	return Disk{Layer: m.Layers[0], Shape: s}, nil
}

// folder and rangeName are a layer's names.
func folder(part int) string { return fmt.Sprintf("%03d", part+1) }

func rangeName(part int, at int64) string { return fmt.Sprintf("%s/%012x", folder(part), at) }

// owner returns which mount point a path of the tree belongs to: the longest that
// it is below, or, if at, that it is itself.
func owner(mounts []string, name string, at bool) string {
	best := ""
	for _, m := range mounts {
		below := m == "/" && name != "/" || strings.HasPrefix(name, m+"/") || at && name == m
		if below && len(m) > len(best) {
			best = m
		}
	}
	return best
}
