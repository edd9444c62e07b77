package install

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"ore"
	"ore/install/exact"
	"ore/install/layer"
	"ore/squashfs"
)

// order is what the builder tells the worker: one JSON value on its standard
// input.
type order struct {
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
	From        *candidate            // the image to start from, nil for none
	Files       map[ore.Digest]string // host paths of the environment's files
	Keys        map[ore.Digest][]byte // certificates of the further repositories
}

// message is what the worker says: one JSON value a line on its standard output.
type message struct {
	Event   *ore.Event     `json:",omitempty"`
	Layer   *sealed        `json:",omitempty"`
	Done    *layer.Outcome `json:",omitempty"`
	Tried   exact.Memory   `json:",omitempty"` // what a build that starts from From relies on
	Refused string         `json:",omitempty"` // why the build cannot start from From
	Error   string         `json:",omitempty"`
}

// sealed is a finished layer.
type sealed struct {
	Index int
	Path  string         // in the build's folder
	Key   ore.Key        // of the environment that ends with it
	Tree  *layer.Outcome `json:",omitempty"` // of the base, if it is the base's
}

// speaker sends messages from several goroutines.
type speaker struct {
	mu sync.Mutex // guards w
	w  *json.Encoder
}

func newSpeaker(w io.Writer) *speaker { return &speaker{w: json.NewEncoder(w)} }

func (s *speaker) say(m message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.w.Encode(m); err != nil {
		return fmt.Errorf("tell builder: %w", err)
	}
	return nil
}

// watch returns a watcher that passes events on. Events may be lost: nothing
// depends on them.
func (s *speaker) watch() ore.Watcher {
	return func(e ore.Event) { _ = s.say(message{Event: &e}) }
}
