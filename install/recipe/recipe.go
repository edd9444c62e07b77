// Package recipe is what a machine that installs itself is told: one JSON value
// that says what it is to be, and where what it needs may be had.
//
//	{"Version": 1, "Name": "m0", "Seed": "run-7f/m0",
//	 "Storage": {...}, "System": {...}, "Environment": {...},
//	 "Strategy": "image", "Image": {...}, "Partial": false,
//	 "Blobs": {"sha256:...": {"Size": 4096, "From": ["/layers/0", "http://10.0.0.1/blobs/sha256/..."]}},
//	 "Archive": ["proxy:http://10.0.0.1:3142", "mirror:http://mirror.example.org/debian"]}
//
// # What it is to be
//
// Name, Seed, Storage, System, Console and Environment say what the machine's
// disks hold in the end, whatever way it took; [Recipe.Digest] is a hash of these
// alone. A disk that was made for the same digest, and finished, is what it
// should be. All identifiers on the disks are hashed from the seed and the
// digest: the same machine with the same recipe gets the same ones again. Where the
// packages, files or steps of a recipe failed, and others take their place, Begun says
// by which recipe the disks were made, which then keep their identifiers.
//
// # How it gets there
//
// Strategy says what is written to the empty file systems before the missing
// packages are installed: nothing, the base's image, or an image, which is the
// environment's or, if Partial, one that others are installed over; or the image of
// a whole disk (package diskimage), which is of that image and of the disk's layout.
// Where an image cannot be had and Archive says where packages are, these are installed
// instead, on disks that are made anew ([Recipe.Instead]).
// All content is named by digest and is verified by whoever uses it, so that none of the
// sources needs to be trusted. Sources are tried in their order:
//
//	/path, http://host/path    of a blob, in the installer or not
//	proxy:http://host/path     of packages, as /path/sha256/HEX
//	mirror:http://host/path    of packages, by the lock's Path below it
//
// # What it says
//
// The installer writes a [Report] a line while it works. What it says last is
// either the end of the stage "restart" or a failure.
//
// A recipe comes over the network: [Parse] takes nothing that it does not know,
// and [Recipe.Check] nothing that could mean a path, an option or a line of a
// file that it is not.
package recipe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"ore"
	"ore/image"
	"ore/install/diskimage"
)

// Version changes when the meaning of a recipe's fields does.
const Version = 1

// maxBytes bounds what is read of a recipe: two locks of the largest suites,
// the environment's and the image's, as package image bounds one.
const maxBytes = 128 << 20

// Recipe is all that an installer is told.
type Recipe struct {
	Version     int
	Name        string // the machine's host name
	Seed        string // who the machine is: no two have the same
	Storage     ore.Storage
	System      ore.System
	Console     string // the serial line that it uses beside its screen, "ttyS0,115200"; "" for none
	Environment ore.Environment
	// Begun is the digest of the recipe by which the machine's disks were made, where
	// this one goes on with them: what fills them is another by now, and what they are
	// called is not. "" where this one makes them.
	Begun ore.Digest `json:",omitempty"`

	Strategy Strategy
	Image    *image.Manifest       // what is written first, nil for nothing
	Partial  bool                  // Image is not the environment's: what lacks is installed over it
	Disk     *diskimage.Disk       `json:",omitempty"` // of Image, and written instead of it where it fits; else nil
	Blobs    map[ore.Digest]Source // layers of Image and Disk, files and certificates of Environment
	Archive  []string              // where packages are, in the order to try them
	// Holds is how many bytes the files of a finished Image take at least of each file
	// system, by where it is mounted; nil where nobody has looked.
	Holds map[string]int64 `json:",omitempty"`
	// Capture is the address that gets the image of what is installed (package
	// capture), or Stay; "" for none.
	Capture string `json:",omitempty"`
}

// Stay as the address for an image has it stay on the machine's disk, from which
// who can reach the machine, and cannot be reached by it, takes it once it runs.
const Stay = "stay"

// Source is where a blob may be had.
type Source struct {
	Size int64
	From []string // absolute paths in the installer, or URLs, in the order to try them
}

// Strategy is a way to a machine's tree.
type Strategy string

// The strategies.
const (
	Whole    Strategy = "image"    // an image is written, and what it lacks is installed
	Base     Strategy = "base"     // the base's image is written, and the other packages are installed
	Packages Strategy = "packages" // all packages are installed
	Disk     Strategy = "disk"     // a disk image is written
)

// Parse reads a recipe and checks it.
func Parse(r io.Reader) (Recipe, error) {
	var c Recipe
	b, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return c, fmt.Errorf("recipe: %w", err)
	}
	if len(b) > maxBytes {
		return c, fmt.Errorf("recipe: more than %d bytes: no installer takes that", maxBytes)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Recipe{}, fmt.Errorf("recipe: %w: it was made for another installer: use ore and installer of one version", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Recipe{}, fmt.Errorf("recipe: something follows it: send one JSON value")
	}
	return c, c.Check()
}

// Encode returns the bytes that Parse reads.
func (c Recipe) Encode() []byte {
	c.Version = Version
	b, err := json.Marshal(c)
	if err != nil {
		panic("recipe: it holds only strings, numbers and lists: " + err.Error())
	}
	return b
}

// Digest names what the machine is to be, without who makes it and from where:
// of two recipes with one digest either does.
func (c Recipe) Digest() ore.Digest {
	key := c.Environment.Key()
	b, err := json.Marshal(struct {
		Version             int
		Name, Seed, Console string
		Key                 ore.Key
		Storage             ore.Storage
		System              ore.System
	}{Version, c.Name, c.Seed, c.Console, key, unwiped(c.Storage), c.System})
	if err != nil {
		panic("recipe: it holds only strings, numbers and lists: " + err.Error())
	}
	return ore.DigestOf(b)
}

// Disks names what the disks are made for: this recipe, or the one that it goes on
// with. All identifiers on them are hashed from it.
func (c Recipe) Disks() ore.Digest {
	if c.Begun != "" {
		return c.Begun
	}
	return c.Digest()
}

// unwiped leaves out what may be destroyed, which is gone in the end.
func unwiped(s ore.Storage) ore.Storage {
	disks := append([]ore.Disk(nil), s.Disks...)
	for i := range disks {
		disks[i].Wipe = false
	}
	s.Disks = disks
	return s
}

// Finished returns the image that is the environment's, nil where there is none.
func (c Recipe) Finished() *image.Manifest {
	if c.Partial {
		return nil
	}
	return c.Image
}

// Instead returns the recipe by which a machine becomes the same where its image
// cannot be had: it installs all packages. It is false where there is no image, or the
// recipe does not say where all is that this takes.
func (c Recipe) Instead() (Recipe, bool) {
	if c.Image == nil {
		return c, false
	}
	c.Strategy, c.Image, c.Disk, c.Partial, c.Holds = Packages, nil, nil, false, nil
	return c, c.Check() == nil
}

// Pourable says whether the layers of the image can be had: beside a disk image they
// are for disks that it does not fit, and may be left out.
func (c Recipe) Pourable() bool {
	if c.Image == nil {
		return false
	}
	for _, l := range c.Image.Layers {
		if len(c.Blobs[l.Digest].From) == 0 {
			return false
		}
	}
	return true
}
