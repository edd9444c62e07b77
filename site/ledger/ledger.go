// Package ledger keeps the records of a site's jobs, and knows which of them run.
//
// A job that runs has a folder, in which its supervisor holds a file locked. The
// kernel lets go of a lock when its holder dies, however it dies, so what nobody
// holds is what a dead supervisor has left.
package ledger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// Book is where the records and the folders of a site's jobs are.
type Book struct {
	Records string // folder of the records
	Run     string // folder with one folder for each job that runs
}

// Job states.
const (
	Running = "running"
	Over    = "over"
	Lost    = "lost" // ore was killed before it could say how the job ended
)

// NewID returns a name for a job that no other job of this site has.
func NewID(name string) (string, error) {
	var n [3]byte
	if _, err := rand.Read(n[:]); err != nil {
		return "", err
	}
	return name + "-" + hex.EncodeToString(n[:]), nil
}

func (b Book) recordPath(id string) string { return filepath.Join(b.Records, id+".json") }

// Keep writes the record of a job, whole.
func (b Book) Keep(r Record) error {
	return b.record(r, WriteWhole)
}

// Begin does so for a job that this process works on. Until what it returns is closed
// or the process is gone, however it went, the job runs: also before it has a
// supervisor, and if all its machines are elsewhere.
func (b Book) Begin(r Record) (work io.Closer, err error) {
	err = b.record(r, func(path string, text []byte) (err error) {
		work, err = writeLocked(path, text)
		return err
	})
	return work, err
}

func (b Book) record(r Record, write func(path string, text []byte) error) error {
	err := os.MkdirAll(b.Records, 0o700)
	if err == nil {
		var text []byte
		if text, err = json.MarshalIndent(r, "", "  "); err == nil {
			err = write(b.recordPath(r.ID), text)
		}
	}
	if err != nil {
		return fmt.Errorf("record job %s: %w", r.ID, err)
	}
	return nil
}

// WriteWhole writes a file so that it is never seen in part.
func WriteWhole(path string, b []byte) error {
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

// writeLocked does so, and the file appears with its lock taken: it is held by who has
// the file open, and it is another one when the file is written again.
func writeLocked(path string, b []byte) (*os.File, error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name())
	if err = tryLock(tmp); err == nil {
		_, err = tmp.Write(b)
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(err, tmp.Close())
	}
	return tmp, nil
}

// Jobs lists the records of all jobs, the newest first.
func (b Book) Jobs() ([]Record, error) {
	list, err := os.ReadDir(b.Records)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	var all []Record
	for _, e := range list {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasPrefix(id, ".") {
			continue
		}
		if r, err := b.readRecord(id); err == nil { // one that cannot be read is no reason to hide the others
			all = append(all, r)
		}
	}
	all = append(all, b.unrecorded(all)...)
	slices.SortFunc(all, func(x, y Record) int { return y.Begun.Compare(x.Begun) })
	return all, nil
}

// unrecorded returns records of kept machines that run and have none: their
// record is written when all of them are up, and whoever starts them may hang.
func (b Book) unrecorded(known []Record) []Record {
	list, err := os.ReadDir(b.Run)
	if err != nil {
		return nil // nothing runs
	}
	var all []Record
	for _, e := range list {
		if slices.ContainsFunc(known, func(r Record) bool { return r.ID == e.Name() && r.Ended.IsZero() }) {
			continue
		}
		if r, ok := b.starting(e.Name()); ok {
			all = append(all, r)
		}
	}
	return all
}

// starting returns what is known of kept machines without a record.
func (b Book) starting(id string) (Record, bool) {
	info, err := os.Stat(filepath.Join(b.Folder(id), keptName))
	if err != nil || !b.Supervised(id) {
		return Record{}, false
	}
	return Record{ID: id, Name: id, Command: []string{"(machines that are being started)"}, Begun: info.ModTime(), Kept: true}, true
}

func (b Book) readRecord(id string) (Record, error) {
	var r Record
	text, err := os.ReadFile(b.recordPath(id))
	if err != nil {
		return r, fmt.Errorf("job %s: %w", id, err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("job %s: record: %w", id, err)
	}
	return r, nil
}

// Job returns the record of the job whose ID is name, or else the newest one
// of that name.
func (b Book) Job(name string) (Record, error) {
	all, err := b.Jobs()
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
func (b Book) Bed(name string) (Record, error) {
	r, err := b.readRecord(name)
	if err == nil && r.Kept && b.State(r) == Running {
		return r, nil
	}
	if s, ok := b.starting(name); ok {
		return s, nil
	}
	if err != nil || !r.Kept {
		return Record{}, fmt.Errorf("machines %q: there are none kept under this name: see 'ore jobs ls'", name)
	}
	return r, nil
}

// State says whether a job runs: it has a supervisor, or somebody works on it.
func (b Book) State(r Record) string {
	switch {
	case !r.Ended.IsZero():
		return Over
	case b.Supervised(r.ID) || held(b.recordPath(r.ID)):
		return Running
	}
	// It may have ended since r was read.
	if now, err := b.readRecord(r.ID); err == nil && !now.Ended.IsZero() {
		return Over
	}
	return Lost
}

// Forget removes the record of a job that does not run.
func (b Book) Forget(r Record) error {
	if b.State(r) == Running {
		return fmt.Errorf("remove job %s: it runs: end it first ('ore down %s', or Ctrl-C where it was started)", r.ID, r.ID)
	}
	if err := os.Remove(b.recordPath(r.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove job %s: %w", r.ID, err)
	}
	return nil
}

// Folder is the folder of a job that runs.
func (b Book) Folder(id string) string { return filepath.Join(b.Run, id) }

// Claim takes the lock of a job's folder, for as long as the file is open here
// or in a process that inherited it. The lock appears taken: whoever finds one that
// nobody holds sweeps the folder.
func Claim(folder string) (*os.File, error) {
	file := filepath.Join(folder, lockName)
	f, err := os.OpenFile(file+".new", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = tryLock(f)
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// MarkKept says of a job's folder that its machines are kept: they are ended by
// their name even before they have a record.
func MarkKept(folder string) error {
	return os.WriteFile(filepath.Join(folder, keptName), nil, 0o600)
}

// Gone waits until the supervisor of a job has let go of its lock.
func (b Book) Gone(ctx context.Context, id string) error {
	e, err := b.Ending(id)
	if err != nil {
		return err
	}
	defer e.Close()
	return e.Wait(ctx)
}

// Ending is the end of the supervisor that a job has now. It is looked up before
// the supervisor is told to end, which removes the lock's file before it is gone.
type Ending struct{ lock *os.File } // nil if there is no supervisor

// Ending looks the supervisor of a job up.
func (b Book) Ending(id string) (Ending, error) {
	f, err := os.Open(filepath.Join(b.Folder(id), lockName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Ending{}, fmt.Errorf("end %s: %w", id, err)
	}
	return Ending{f}, nil
}

// Close ends the look.
func (e Ending) Close() error {
	if e.lock == nil {
		return nil
	}
	return e.lock.Close()
}

// Wait waits until the supervisor is gone.
func (e Ending) Wait(ctx context.Context) error {
	if e.lock == nil {
		return nil
	}
	// The call cannot be interrupted: it has a descriptor of its own, which nobody
	// closes under it, and ends with the supervisor.
	fd, err := unix.FcntlInt(e.lock.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- errors.Join(unix.Flock(fd, unix.LOCK_SH), unix.Close(fd)) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Supervised says whether a job has a supervisor on this host, which holds the lock.
func (b Book) Supervised(id string) bool { return held(filepath.Join(b.Folder(id), lockName)) }

// held says whether somebody holds the lock of a file.
func held(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(lookLock(f), unix.EWOULDBLOCK)
}

// lockName is the file in a job's folder that its supervisor holds locked.
const lockName = "lock"

// keptName is the file in a job's folder that is there if its machines are kept.
const keptName = "kept"

func tryLock(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

// lookLock finds out whether somebody holds the lock. It takes a share of it, so
// that of two who look at once neither takes the other for the holder.
func lookLock(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
}

// Sweep removes the folders of jobs whose supervisor is gone, all that it can,
// and returns those that it removed. A folder that is just being made holds its
// lock already.
func (b Book) Sweep() ([]string, error) {
	stale, err := b.Stale()
	errs := []error{err}
	var removed []string
	for _, folder := range stale {
		gone, err := b.sweep(filepath.Base(folder))
		if err != nil {
			errs = append(errs, err)
		} else if gone {
			removed = append(removed, folder)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return removed, fmt.Errorf("sweep: %w", err)
	}
	return removed, nil
}

// Stale returns the folders of jobs whose supervisor is gone.
func (b Book) Stale() ([]string, error) {
	list, err := os.ReadDir(b.Run)
	var stale []string
	for _, e := range list {
		if e.IsDir() && !b.Supervised(e.Name()) && !b.fresh(e) {
			stale = append(stale, b.Folder(e.Name()))
		}
	}
	return stale, err
}

// freshFolder is the time in which a folder may exist without its lock: from
// mkdir to open in one process.
const freshFolder = 10 * time.Second

func (b Book) fresh(e fs.DirEntry) bool {
	info, err := e.Info()
	if err != nil {
		return true
	}
	_, err = os.Stat(filepath.Join(b.Folder(e.Name()), lockName))
	return errors.Is(err, fs.ErrNotExist) && fresh(info)
}

func fresh(folder fs.FileInfo) bool { return time.Since(folder.ModTime()) < freshFolder }
