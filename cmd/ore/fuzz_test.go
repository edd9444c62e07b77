package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"ore"
	"ore/site"
	"ore/site/ledger"
)

// FuzzLock looks for a lock file that makes its reader panic, or that pins what
// has no key.
func FuzzLock(f *testing.F) {
	f.Add([]byte(`{"Environment":{"Version":1,"Base":{"Distribution":"debian","Suite":"bookworm"},"Arch":"amd64","Packages":[{"Name":"a","Version":"1"}]},"Kernels":{}}`))
	f.Add([]byte(`{"Kernels":{"linux":null}}`))
	f.Add([]byte(`{}`))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		file := filepath.Join(t.TempDir(), "lock")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := site.ReadLock(file)
		if err != nil {
			return
		}
		var w ore.Wants
		l.Pin(&w)
		if _, err := json.Marshal(l); err != nil {
			t.Errorf("%q: written back: %v", b, err)
		}
	})
}

// FuzzRecord looks for a job's record that makes a list of jobs panic or hides
// another job.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"ID":"a-1","Name":"a","Begun":"2026-01-01T00:00:00Z","Result":{"Kind":"finished"}}`))
	f.Add([]byte(`{"ID":"../../etc","Kept":true,"Start":{}}`))
	f.Add([]byte(`null`))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		home := t.TempDir()
		jobs := filepath.Join(home, "jobs")
		if err := os.Mkdir(jobs, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{"x.json": b, "good.json": []byte(`{"ID":"good","Name":"good"}`)} {
			if err := os.WriteFile(filepath.Join(jobs, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := ledger.Book{Records: filepath.Join(home, "jobs"), Run: home}
		if r, err := s.Job("good"); err != nil || r.ID != "good" && r.Name != "good" {
			t.Errorf("%q beside it: %+v, %v", b, r, err)
		}
		all, err := s.Jobs()
		if err != nil {
			t.Errorf("%q: %v", b, err)
		}
		for _, r := range all {
			s.State(r)
		}
	})
}
