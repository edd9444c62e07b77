package inputs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ore"
)

// Memo remembers in a folder what was found out by reading a source. Losing it
// costs one more reading, so that what goes wrong with it is of no consequence.
type Memo struct{ Dir string }

// maxMemos bounds the folder: the sources of some hundred job files.
const maxMemos = 1000

// memory is one file of the folder.
type memory struct {
	Stamp ore.Digest
	Value json.RawMessage
}

func (m Memo) path(kind string, l Listing) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + l.Top))
	return filepath.Join(m.Dir, hex.EncodeToString(sum[:16])+".json")
}

// Recall sets to to what was kept about a source of this kind, and says whether
// there was something that still holds.
func (m Memo) Recall(kind string, l Listing, to any) bool {
	p := m.path(kind, l)
	b, err := os.ReadFile(p)
	if err != nil {
		return false
	}
	var was memory
	if json.Unmarshal(b, &was) != nil || was.Stamp != l.Stamp || json.Unmarshal(was.Value, to) != nil {
		return false
	}
	now := time.Now()
	_ = os.Chtimes(p, now, now) // those that were used last are kept longest
	return true
}

// Keep remembers what was found out by reading a source that looked like l
// before it was read and like after since. It is kept only if a change between
// the two would show.
func (m Memo) Keep(kind string, l, after Listing, value any) {
	if l.Stamp != after.Stamp || !l.settled {
		return
	}
	v, err := json.Marshal(value)
	if err != nil {
		return
	}
	b, err := json.Marshal(memory{Stamp: l.Stamp, Value: v})
	if err != nil {
		return
	}
	if os.MkdirAll(m.Dir, 0o700) != nil {
		return
	}
	tmp, err := os.CreateTemp(m.Dir, ".new-*")
	if err != nil {
		return
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if errors.Join(err, tmp.Close()) == nil && os.Rename(tmp.Name(), m.path(kind, l)) == nil {
		m.bound()
	}
}

// bound removes the files that were not used for longest.
func (m Memo) bound() {
	list, err := os.ReadDir(m.Dir)
	if err != nil || len(list) <= maxMemos {
		return
	}
	type file struct {
		name string
		used time.Time
	}
	var all []file
	for _, e := range list {
		if info, err := e.Info(); err == nil {
			all = append(all, file{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b file) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.name, b.name)) })
	for _, f := range all[:max(0, len(all)-maxMemos)] {
		_ = os.Remove(filepath.Join(m.Dir, f.name))
	}
}
