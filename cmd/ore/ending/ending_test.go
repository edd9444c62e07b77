package ending

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/cluster/results"
	"ore/site"
	"ore/site/ledger"
)

// A job that is killed at once is written down as cancelled, in its record and in
// its folder, and is told; without a job it is said that ore was killed.
func TestJob(t *testing.T) {
	b := ledger.Book{Records: t.TempDir(), Run: t.TempDir()}
	out, err := results.Create(t.TempDir(), "job-1")
	if err != nil {
		t.Fatal(err)
	}
	record := ledger.Record{ID: "job-1", Begun: time.Now()}
	if err := b.Keep(record); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	words := &Words{}
	words.Set(Job(&site.Site{Book: b}, record, out))
	words.Speak(&said)
	if want := "job-1: cancelled, killed; results in " + out.Dir() + "\n"; said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
	kept, err := b.Job("job-1")
	if err != nil || b.State(kept) != ledger.Over || kept.Result.Kind != ore.Cancelled || kept.Result.ExitCode != ore.ExitCancelled {
		t.Errorf("%+v, %v", kept, err)
	}
	if r, err := results.Load(out.Dir()); err != nil || r.Kind != ore.Cancelled {
		t.Errorf("%+v, %v", r, err)
	}
	said.Reset()
	(&Words{}).Speak(&said)
	if !strings.Contains(said.String(), "killed") {
		t.Errorf("said %q", said.String())
	}
}

// A job whose ore panics says so in its record; one with a result keeps it.
func TestBroken(t *testing.T) {
	b := ledger.Book{Records: t.TempDir(), Run: t.TempDir()}
	record := ledger.Record{ID: "job-1", Begun: time.Now()}
	work, err := b.Begin(record)
	if err != nil {
		t.Fatal(err)
	}
	defer work.Close()
	out, err := results.Create(t.TempDir(), "job-1")
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		defer Broken(&site.Site{Book: b}, &record, out)
		panic("a fault")
	}()
	kept, err := b.Job("job-1")
	if err != nil || b.State(kept) != ledger.Over || kept.Result.Kind != ore.Failed || kept.Result.Error == "" {
		t.Errorf("%+v, %v", kept, err)
	}
	was := &ore.Result{Job: "job-1", Kind: ore.Finished}
	record.Result = was
	if Broken(&site.Site{Book: b}, &record, out); record.Result != was {
		t.Errorf("the result became %+v", record.Result)
	}
}
