package ledger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ore"
)

func newBook(t *testing.T) Book { return Book{Records: t.TempDir(), Run: t.TempDir()} }

func TestRecordsOfJobs(t *testing.T) {
	b := newBook(t)
	old := Record{ID: "a-1", Name: "a", Begun: time.Unix(1, 0), Ended: time.Unix(2, 0), Result: &ore.Result{ExitCode: 3}}
	lost := Record{ID: "a-2", Name: "a", Begun: time.Unix(3, 0)}
	for _, r := range []Record{old, lost} {
		if err := b.Keep(r); err != nil {
			t.Fatal(err)
		}
	}
	all, err := b.Jobs()
	if err != nil || len(all) != 2 || all[0].ID != "a-2" {
		t.Errorf("%+v, %v: want both, the newest first", all, err)
	}
	if b.State(old) != Over || b.State(lost) != Lost {
		t.Errorf("states %s, %s", b.State(old), b.State(lost))
	}
	if r, err := b.Job("a"); err != nil || r.ID != "a-2" {
		t.Errorf("by name: %+v, %v", r, err)
	}
	if r, err := b.Job("a-1"); err != nil || r.Result.ExitCode != 3 {
		t.Errorf("by ID: %+v, %v", r, err)
	}
	if err := b.Forget(lost); err != nil {
		t.Error(err)
	}
	if _, err := b.Job("a-2"); err == nil {
		t.Error("a job that was forgotten is found")
	}
}

// A job runs from its record's first moment on, whether it has a supervisor here or
// not, until its record says how it ended or nobody works on it any more.
func TestBegin(t *testing.T) {
	b := newBook(t)
	r := Record{ID: "a-1", Name: "a", Begun: time.Unix(1, 0)}
	work, err := b.Begin(r)
	if err != nil {
		t.Fatal(err)
	}
	if s := b.State(r); s != Running || b.Supervised(r.ID) {
		t.Errorf("a job that has just begun: %s, supervised %v", s, b.Supervised(r.ID))
	}
	if err := b.Forget(r); err == nil {
		t.Error("a job that runs is forgotten")
	}
	ended := r
	ended.Ended = time.Unix(2, 0)
	if err := b.Keep(ended); err != nil {
		t.Fatal(err)
	}
	if s := b.State(r); s != Over {
		t.Errorf("a job that ended since its record was read: %s", s)
	}
	if err := work.Close(); err != nil {
		t.Error(err)
	}
	gone := Record{ID: "a-2", Begun: time.Unix(3, 0)}
	if work, err = b.Begin(gone); err != nil {
		t.Fatal(err)
	}
	if err := work.Close(); err != nil { // as the kernel does when its holder dies
		t.Error(err)
	}
	if s := b.State(gone); s != Lost {
		t.Errorf("a job that nobody works on: %s", s)
	}
	if left, err := os.ReadDir(b.Records); err != nil || len(left) != 2 {
		t.Errorf("records: %v, %v", left, err)
	}
}

// lockJob makes the folder of a job that runs, as its supervisor holds it.
func lockJob(t *testing.T, b Book, id string) *os.File {
	t.Helper()
	if err := os.Mkdir(b.Folder(id), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := Claim(b.Folder(id))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Machines that are kept can be ended by name before their record is written.
func TestKeptMachinesWithoutARecord(t *testing.T) {
	b := newBook(t)
	held := lockJob(t, b, "bed")
	if r, err := b.Bed("bed"); err == nil {
		t.Errorf("a job that is run is ended by its name: %+v", r)
	}
	if err := MarkKept(b.Folder("bed")); err != nil {
		t.Fatal(err)
	}
	r, err := b.Bed("bed")
	if err != nil || !r.Kept || b.State(r) != Running {
		t.Errorf("%+v, %v", r, err)
	}
	if all, err := b.Jobs(); err != nil || len(all) != 1 || all[0].ID != "bed" {
		t.Errorf("jobs: %+v, %v", all, err)
	}
	held.Close()
	if err := b.Forget(r); err != nil {
		t.Error(err)
	}
	if r, err := b.Bed("bed"); err == nil {
		t.Errorf("dead machines without a record: %+v", r)
	}
}

// What is removed is the folder that was held, not another that has its path.
func TestGripKeepsToItsFolder(t *testing.T) {
	b := newBook(t)
	for _, replaced := range []bool{true, false} {
		lockJob(t, b, "job").Close()
		g, err := Hold(b.Folder("job"))
		if err != nil {
			t.Fatal(err)
		}
		if replaced {
			if err := os.RemoveAll(b.Folder("job")); err != nil {
				t.Fatal(err)
			}
			lockJob(t, b, "job").Close()
		}
		if err := g.Remove(); err != nil {
			t.Errorf("replaced %v: %v", replaced, err)
		}
		if _, err := os.Stat(filepath.Join(b.Folder("job"), lockName)); (err == nil) != replaced {
			t.Errorf("replaced %v: %v", replaced, err)
		}
		if err := os.RemoveAll(b.Folder("job")); err != nil {
			t.Fatal(err)
		}
	}
}

// Who looks whether a job runs is not taken for the job by another who looks.
func TestTwoWhoLook(t *testing.T) {
	b := newBook(t)
	lockJob(t, b, "dead").Close()
	f, err := os.Open(filepath.Join(b.Folder("dead"), lockName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := lookLock(f); err != nil {
		t.Fatal(err)
	}
	if s := b.State(Record{ID: "dead"}); s != Lost {
		t.Errorf("state %s while somebody else looks", s)
	}
	if swept, err := b.Sweep(); err != nil || len(swept) != 1 {
		t.Errorf("swept: %v, %v", swept, err)
	}
}

func TestSweepTakesWhatNobodyHolds(t *testing.T) {
	b := newBook(t)
	held := lockJob(t, b, "held")
	defer held.Close()
	lockJob(t, b, "dead").Close()
	if err := os.Mkdir(b.Folder("fresh"), 0o700); err != nil { // just being made
		t.Fatal(err)
	}
	if err := os.Mkdir(b.Folder("stale"), 0o700); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * freshFolder)
	if err := os.Chtimes(b.Folder("stale"), long, long); err != nil {
		t.Fatal(err)
	}
	if b.State(Record{ID: "held"}) != Running || b.State(Record{ID: "dead"}) != Lost {
		t.Error("states are wrong")
	}
	want := []string{b.Folder("dead"), b.Folder("stale")}
	if stale, err := b.Stale(); err != nil || !slices.Equal(stale, want) {
		t.Errorf("stale: %v, %v", stale, err)
	}
	if swept, err := b.Sweep(); err != nil || !slices.Equal(swept, want) {
		t.Errorf("swept: %v, %v", swept, err)
	}
	for id, want := range map[string]bool{"held": true, "fresh": true, "dead": false, "stale": false} {
		if _, err := os.Stat(b.Folder(id)); (err == nil) != want {
			t.Errorf("%s: %v, want there: %v", id, err, want)
		}
	}
	if err := b.Forget(Record{ID: "held"}); err == nil {
		t.Error("a job that runs was forgotten")
	}
}

// A supervisor is gone when it has let go of its lock, though it has removed the
// lock's file before.
func TestEndingOutlivesTheLocksFile(t *testing.T) {
	b := newBook(t)
	lock := lockJob(t, b, "job")
	end, err := b.Ending("job")
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	if err := os.RemoveAll(b.Folder("job")); err != nil {
		t.Fatal(err)
	}
	late, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := end.Wait(late); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is there: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := end.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	none, err := b.Ending("none")
	if err != nil || none.Wait(t.Context()) != nil || none.Close() != nil {
		t.Errorf("of a job that does not run: %v", err)
	}
}
