package site

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ore"
)

// Record is what is kept of a job, running or over.
type Record struct {
	ID       string
	Name     string
	Command  []string `json:",omitempty"`
	Begun    time.Time
	Ended    time.Time // zero while it runs
	Folder   string    // of the results, "" for kept machines
	Machines int
	Kept     bool            // made by 'ore up'
	Result   *ore.Result     `json:",omitempty"`
	Start    json.RawMessage `json:",omitempty"` // for kept machines: how to start more of them
}

// Job states.
const (
	Running = "running"
	Over    = "over"
	Lost    = "lost" // ore was killed before it could say how the job ended
)

// NewID returns a name for a job that no other job of this site has.
func NewID(name string) (string, error) {
	var b [3]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return name + "-" + hex.EncodeToString(b[:]), nil
}

func (s *Site) recordPath(id string) string {
	return filepath.Join(s.Dirs.State, "jobs", id+".json")
}

// Keep writes the record of a job, whole.
func (s *Site) Keep(r Record) error {
	dir := filepath.Join(s.Dirs.State, "jobs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("record job %s: %w", r.ID, err)
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("record job %s: %w", r.ID, err)
	}
	if err := writeWhole(s.recordPath(r.ID), b); err != nil {
		return fmt.Errorf("record job %s: %w", r.ID, err)
	}
	return nil
}

// writeWhole writes a file so that it is never seen in part.
func writeWhole(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// Jobs lists the records of all jobs, the newest first.
func (s *Site) Jobs() ([]Record, error) {
	list, err := os.ReadDir(filepath.Join(s.Dirs.State, "jobs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	var all []Record
	for _, e := range list {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasPrefix(id, ".") {
			continue
		}
		if r, err := s.readRecord(id); err == nil { // one that cannot be read is no reason to hide the others
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Record) int { return b.Begun.Compare(a.Begun) })
	return all, nil
}

func (s *Site) readRecord(id string) (Record, error) {
	var r Record
	b, err := os.ReadFile(s.recordPath(id))
	if err != nil {
		return r, fmt.Errorf("job %s: %w", id, err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("job %s: record: %w", id, err)
	}
	return r, nil
}

// Job returns the record of the job whose ID is name, or else the newest one
// of that name.
func (s *Site) Job(name string) (Record, error) {
	all, err := s.Jobs()
	if err != nil {
		return Record{}, err
	}
	for _, r := range all {
		if r.ID == name {
			return r, nil
		}
	}
	for _, r := range all {
		if r.Name == name {
			return r, nil
		}
	}
	return Record{}, fmt.Errorf("job %q: there is none: see 'ore jobs ls'", name)
}

// Bed returns the record of the kept machines called name. Jobs that are run
// are not found here: nobody ends them by a name that they happen to share.
func (s *Site) Bed(name string) (Record, error) {
	r, err := s.readRecord(name)
	if err != nil || !r.Kept {
		return Record{}, fmt.Errorf("machines %q: there are none kept under this name: see 'ore jobs ls'", name)
	}
	return r, nil
}

// State says whether a job runs.
func (s *Site) State(r Record) string {
	switch {
	case !r.Ended.IsZero():
		return Over
	case s.alive(r.ID):
		return Running
	default:
		return Lost
	}
}

// Forget removes the record of a job that does not run.
func (s *Site) Forget(r Record) error {
	if s.State(r) == Running {
		return fmt.Errorf("remove job %s: it runs: end it first ('ore down %s', or Ctrl-C where it was started)", r.ID, r.ID)
	}
	if err := os.Remove(s.recordPath(r.ID)); err != nil {
		return fmt.Errorf("remove job %s: %w", r.ID, err)
	}
	return nil
}

// jobDir is the folder of a job that runs, and alive says whether it does: its
// supervisor holds the lock.
func (s *Site) jobDir(id string) string { return filepath.Join(s.Dirs.Run, id) }

func (s *Site) alive(id string) bool {
	f, err := os.Open(filepath.Join(s.jobDir(id), lockName))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(tryLock(f), unix.EWOULDBLOCK)
}

// lockName is the file in a job's folder that its supervisor holds locked.
const lockName = "lock"

func tryLock(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

// Sweep removes the folders of jobs whose supervisor is gone, and returns how
// many there were. A folder that is just being made holds its lock already.
func (s *Site) Sweep() (int, error) {
	list, err := os.ReadDir(s.Dirs.Run)
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	n := 0
	for _, e := range list {
		if !e.IsDir() || s.alive(e.Name()) || s.fresh(e) {
			continue
		}
		if err := os.RemoveAll(s.jobDir(e.Name())); err != nil {
			return n, fmt.Errorf("sweep: %w", err)
		}
		n++
	}
	return n, nil
}

// freshFolder is the time in which a folder may exist without its lock: from
// mkdir to open in one process.
const freshFolder = 10 * time.Second

func (s *Site) fresh(e fs.DirEntry) bool {
	info, err := e.Info()
	if err != nil {
		return true
	}
	_, err = os.Stat(filepath.Join(s.jobDir(e.Name()), lockName))
	return errors.Is(err, fs.ErrNotExist) && time.Since(info.ModTime()) < freshFolder
}
