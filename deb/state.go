package deb

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ore"
	"ore/deb/fetch"
)

// stateVersion changes when a cache of an older program cannot be read: then
// everything is got anew.
const stateVersion = 1

// state is what is kept about a source between two runs: what was proved, when
// and by which certificates.
type state struct {
	Version    int
	URI, Suite string
	Trust      ore.Digest // of the certificates that it was proved with
	Checked    time.Time  // when the mirror was last asked
	Tried      time.Time  // when it last did not answer
	Date       time.Time  // of the newest Release seen
	ValidUntil time.Time
	Known      fetch.Validators
	Absent     string // why the source counts as not there, "" if it does not
	Pin        int
	Packed     []packed
}

// packed is one index in its compact form.
type packed struct {
	Component string
	Digest    ore.Digest // of the Packages file
}

// store is the folder that indexes are kept in:
//
//	NAME/InRelease   the last proved one of a source
//	NAME/state.json  see state
//	packed/HEX       compact indexes by the hash of their Packages file
//	partial/         downloads
type store struct {
	dir string
}

func (s store) folder(src source) string {
	return filepath.Join(s.dir, ore.DigestOf([]byte(src.uri + "\n" + src.suite)).Hex()[:24])
}

func (s store) packedPath(d ore.Digest) string { return filepath.Join(s.dir, "packed", d.Hex()) }
func (s store) partial(d ore.Digest) string    { return filepath.Join(s.dir, "partial", d.Hex()) }

// load returns what is kept about src; where nothing useful is, the zero state.
func (s store) load(src source) state {
	data, err := os.ReadFile(filepath.Join(s.folder(src), "state.json"))
	if err != nil {
		return state{}
	}
	var st state
	if json.Unmarshal(data, &st) != nil || st.Version != stateVersion || st.URI != src.uri || st.Suite != src.suite {
		return state{}
	}
	return st
}

// save keeps st and, unless it is nil, the InRelease file that it is about.
func (s store) save(src source, st state, inRelease []byte) error {
	st.Version, st.URI, st.Suite = stateVersion, src.uri, src.suite
	data, err := json.MarshalIndent(st, "", " ")
	if err != nil {
		return err
	}
	dir := s.folder(src)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if inRelease != nil {
		if err := writeWhole(filepath.Join(dir, "InRelease"), inRelease); err != nil {
			return err
		}
	}
	return writeWhole(filepath.Join(dir, "state.json"), data)
}

// inRelease returns the kept InRelease file of src, nil if there is none.
func (s store) inRelease(src source) []byte {
	data, err := os.ReadFile(filepath.Join(s.folder(src), "InRelease"))
	if err != nil {
		return nil
	}
	return data
}

// writeWhole writes a file so that it is seen wholly or not at all.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// unusedAfter is how long a compact index that no source refers to is kept:
// longer than any run that may have it open by name.
const unusedAfter = 24 * time.Hour

// tidy removes compact indexes that no source refers to any more.
func (s store) tidy(now time.Time) error {
	used := make(map[string]bool)
	states, err := filepath.Glob(filepath.Join(s.dir, "*", "state.json"))
	if err != nil {
		return err
	}
	for _, path := range states {
		var st state
		if data, err := os.ReadFile(path); err != nil || json.Unmarshal(data, &st) != nil {
			continue
		}
		for _, p := range st.Packed {
			used[p.Digest.Hex()] = true
		}
	}
	files, err := os.ReadDir(filepath.Join(s.dir, "packed"))
	if err != nil {
		return err
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || used[f.Name()] || now.Sub(info.ModTime()) < unusedAfter {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, "packed", f.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
