// Package wire is what a builder and the worker that it starts say to each other:
// one order, then messages, as JSON.
package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"ore"
	"ore/image"
	"ore/install/exact"
	"ore/install/layer"
	"ore/squashfs"
)

// Order is what the builder tells the worker: one JSON value on its standard
// input.
type Order struct {
	Environment ore.Environment
	Debs        []string // the .debs of Environment.Packages, "" where not needed
	Packs       string   // folder of packs
	Compiled    string   // folder of compiled modules
	Work        string   // folder of this build; the worker removes it
	Tree        string   // where the base's tree is kept
	Owners      string   // the owner table of Work, for tier single
	Base        string   // path of the base's layer if there is one, "" else
	Nodes       string   // file with the base's nodes; it exists if Base does
	Options     squashfs.Options
	From        *Candidate            // the image to start from, nil for none
	Files       map[ore.Digest]string // host paths of the environment's files
	Keys        map[ore.Digest][]byte // certificates of the further repositories
	Into        string                // the folder that gets the tree as plain files, "" for none
	Unsealed    bool                  // no layers are made
}

// Candidate is the image that a build starts from.
type Candidate struct {
	Packages     []ore.Package
	Layers       []Lower // over the base's
	Capabilities []image.Capability
	Tree         ore.Digest // what the layers make
	Seen         exact.Memory
	Try          bool // although it is not known whether its packages are exact
	// Made says that it has the packages and files that are asked for, and has run
	// Steps; the first Bare of Layers make what it was before these.
	Made  bool
	Steps []ore.Step
	Apart []string // see image.Manifest
	Bare  int
}

// Below is what the name of a step's result ends with: "" where nothing is started from,
// else by what the step ran over. Two runs of one step may differ, so that a result
// belongs to the bytes below it, and is for no build that has others.
func (c *Candidate) Below() string {
	if c == nil {
		return ""
	}
	h := sha256.New()
	fmt.Fprintln(h, c.Tree, c.Bare)
	for _, l := range c.Layers {
		fmt.Fprintln(h, filepath.Base(l.Tree)) // it has the layer's digest
	}
	return "-" + hex.EncodeToString(h.Sum(nil))
}

// Lower is a layer and where its tree is kept.
type Lower struct {
	Layer, Tree string
}

// Message is what the worker says: one JSON value a line on its standard output.
type Message struct {
	Event   *ore.Event     `json:",omitempty"`
	Layer   *Sealed        `json:",omitempty"`
	Done    *layer.Outcome `json:",omitempty"`
	Tried   exact.Memory   `json:",omitempty"` // what a build that starts from From relies on
	Refused string         `json:",omitempty"` // why the build cannot start from From
	Error   string         `json:",omitempty"`
	Full    bool           `json:",omitempty"` // with Error: it comes of a full disk
}

// Failed returns the message of an error.
func Failed(err error) Message {
	err = image.Full(err)
	return Message{Error: err.Error(), Full: errors.Is(err, image.ErrFull)}
}

// Failure returns the error of a message that has one: of a full disk, it matches
// [image.ErrFull] and ENOSPC as that which was sent did.
func (m Message) Failure() error {
	if m.Full {
		return fullError(m.Error)
	}
	return errors.New(m.Error)
}

// fullError is an error of a full disk, in the words of who met it.
type fullError string

// Error returns the words.
func (e fullError) Error() string { return string(e) }

// Unwrap returns what it matches.
func (e fullError) Unwrap() []error { return []error{image.ErrFull, unix.ENOSPC} }

// Sealed is a finished layer.
type Sealed struct {
	Index int
	Path  string         // in the build's folder
	Key   ore.Key        // of the environment that ends with it
	Tree  *layer.Outcome `json:",omitempty"` // of the base, if it is the base's
}

// Speaker sends messages from several goroutines.
type Speaker struct {
	mu sync.Mutex // guards w
	w  *json.Encoder
}

// NewSpeaker returns one that writes to w.
func NewSpeaker(w io.Writer) *Speaker { return &Speaker{w: json.NewEncoder(w)} }

// Say sends a message.
func (s *Speaker) Say(m Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.w.Encode(m); err != nil {
		return fmt.Errorf("tell builder: %w", err)
	}
	return nil
}

// Watch returns a watcher that passes events on. Events may be lost: nothing
// depends on them.
func (s *Speaker) Watch() ore.Watcher {
	return func(e ore.Event) { _ = s.Say(Message{Event: &e}) }
}
