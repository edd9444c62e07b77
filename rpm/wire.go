package rpm

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"ore"
	"ore/install/layer"
	"ore/squashfs"
)

// order is what the maker tells the worker: one JSON value on its standard input.
type order struct {
	Tools  string // the tree of programs
	Work   string // folder of this run; In lies in it
	In     string // what the programs see as /in
	Owners string // the owner table of Work, for tier single

	Resolve *resolveOrder `json:",omitempty"`
	Install *installOrder `json:",omitempty"`
}

// resolveOrder has a wish resolved.
type resolveOrder struct {
	Repositories []string // folders in In's repos, in the order of preference
	Wishes       []string // as dnf takes them
}

// installOrder has packages installed and the tree sealed.
type installOrder struct {
	Groups  []group  // the packages by the key that must have signed them
	Expect  []string // what has to be installed at the end, sorted
	OwnsDNF bool     // the tree has a dnf of its own, and may have its folders
	Options squashfs.Options
}

// group is packages that one key must have signed.
type group struct {
	Key   string   // file in In's keys, "" if nobody need have signed them
	Files []string // in In's packages
}

// message is what the worker says: one JSON value a line on its standard output.
type message struct {
	Event    *ore.Event     `json:",omitempty"`
	Packages []found        `json:",omitempty"`
	Done     *layer.Outcome `json:",omitempty"` // of the layer, which is at layerName in Work
	Error    string         `json:",omitempty"`
}

// layerName is the file in a worker's folder that the layer is written to.
const layerName = "layer.squashfs"

// found is a package that dnf chose.
type found struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Arch       string `json:"arch"`
	Path       string `json:"path"`
	Base       string `json:"base"` // where it lies, if not in its repository
	Repository string `json:"repository"`
	Size       int64  `json:"size"`
	Kind       string `json:"kind"` // of Hash
	Hash       string `json:"hash"`
}

// said is what script.py says.
type said struct {
	Missing    string   `json:"missing"`
	Conflict   string   `json:"conflict"`
	Packages   []found  `json:"packages"`
	Installing string   `json:"installing"`
	Done       int64    `json:"done"`
	Total      int64    `json:"total"`
	Note       string   `json:"note"`
	Output     string   `json:"output"`
	Epoch      int64    `json:"epoch"`
	Installed  []string `json:"installed"`
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
		return fmt.Errorf("tell maker: %w", err)
	}
	return nil
}

// watch passes events on. They may be lost: nothing depends on them.
func (s *speaker) watch() ore.Watcher {
	return func(e ore.Event) { _ = s.say(message{Event: &e}) }
}
