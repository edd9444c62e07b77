package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/guest"
)

// A machine whose installer failed is kept if that was asked for; the others are
// ready, and it goes on when it is asked to.
func TestFailedIsKept(t *testing.T) {
	b := newBench(t)
	s := b.ask("m0", "m1")
	cure := filepath.Join(t.TempDir(), "cure")
	b.installs(t, &s, `if grep -q m1 && ! test -e `+cure+`; then echo its console says this >&2; echo '{"stage":"scripts","event":"fail","text":"step second: it is too late"}'; exit 1; fi; echo '{"stage":"restart","event":"start"}'`)
	s.Install.Keep = true
	all, err := b.Start(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	var failed *FailedError
	if err := Failed(all); !errors.As(err, &failed) || len(failed.Machines) != 1 || failed.Machines[0].Name != "m1" || !strings.Contains(err.Error(), "machine m1: install: stage scripts: step second: it is too late") {
		t.Fatalf("%v", err)
	}
	for _, m := range all {
		if exit, err := b.Exec(t.Context(), m.Name, guest.Command{Args: []string{"/bin/true"}}); err != nil || exit.Code != 0 {
			t.Errorf("%s: %+v, %v", m.Name, exit, err)
		}
	}
	s.Again = true
	if all, err = b.Start(t.Context(), s, nil); err != nil || len(all) != 1 || Failed(all) == nil {
		t.Fatalf("nothing was mended: %+v, %v", all, err)
	}
	if n := strings.Count(all[0].Failed, "its console says this"); n != 1 {
		t.Errorf("its console is told %d times: %s", n, all[0].Failed)
	}
	if err := os.WriteFile(cure, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err = b.Start(t.Context(), s, nil); err != nil || len(all) != 1 || all[0].Name != "m1" || Failed(all) != nil {
		t.Fatalf("mended: %+v, %v", all, err)
	}
	if id := b.identityOf(t, "m1"); id.InMemory || id.Root == nil {
		t.Errorf("it is not on its disk: %+v", id)
	}
	if all, err = b.Start(t.Context(), s, nil); err != nil || len(all) > 0 {
		t.Errorf("nothing has failed: %+v, %v", all, err)
	}
	if all := b.node.Machines(); len(all) != 2 || Failed(all) != nil {
		t.Errorf("%+v", all)
	}
}

// What fails once goes on by itself, if it may, and costs the others nothing.
func TestInstallIsTriedAgain(t *testing.T) {
	b := newBench(t)
	s := b.ask("m0", "m1")
	count := filepath.Join(t.TempDir(), "count")
	b.installs(t, &s, `if grep -q m1; then echo x >>`+count+`; if test $(wc -l <`+count+`) -lt 3; then echo '{"stage":"packages","event":"fail","text":"no answer"}'; exit 1; fi; fi; echo '{"stage":"restart","event":"start"}'`)
	s.Install.Tries = 2
	var notes int
	all, err := b.Start(t.Context(), s, func(e ore.Event) {
		if e.Stage == "note" && strings.Contains(e.Text, "machine m1: stage packages: no answer") {
			notes++
		}
	})
	if err != nil || len(all) != 2 || notes != 2 {
		t.Errorf("%+v, %v, %d notes", all, err, notes)
	}
}

// Of several machines that go on, those that fail again are kept again.
func TestSomeFailAgain(t *testing.T) {
	b := newBench(t)
	s := b.ask("m0", "m1")
	dir := t.TempDir()
	b.installs(t, &s, `r=$(cat | tr -d '"'); if ! test -e `+dir+`/$r; then echo '{"stage":"scripts","event":"fail","text":"step second"}'; exit 1; fi; echo '{"stage":"restart","event":"start"}'`)
	s.Install.Keep = true
	for i, mended := range []string{"", "m0", "m1"} {
		if mended != "" {
			if err := os.WriteFile(filepath.Join(dir, mended), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s.Again = i > 0
		if _, err := b.Start(t.Context(), s, nil); err != nil {
			t.Fatal(err)
		}
		all := b.node.Machines()
		if len(all) != 2 {
			t.Fatalf("%d: there are %+v", i, all)
		}
		for _, m := range all {
			if m.Lost != "" {
				t.Errorf("%d: %s is lost: %s", i, m.Name, m.Lost)
			}
			if exit, err := b.Exec(t.Context(), m.Name, guest.Command{Args: []string{"/bin/true"}}); err != nil || exit.Code != 0 {
				t.Errorf("%d: %s: %+v, %v", i, m.Name, exit, err)
			}
		}
	}
	if err := Failed(b.node.Machines()); err != nil {
		t.Error(err)
	}
}
