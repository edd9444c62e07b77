package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"ore"
	"ore/guest"
	"ore/node/installing"
)

// A machine that cannot install itself is lost, with its stage, its cause and its
// console, and costs the others nothing.
func TestInstallFailsApart(t *testing.T) {
	b := newBench(t)
	s := b.ask("m0", "m1", "m2")
	b.installs(t, &s, `if grep -q m1; then echo '{"stage":"format","event":"fail","text":"mkfs: no room"}'; echo last words >&2; exit 1; fi; echo '{"stage":"restart","event":"start"}'`)
	s.Install.Apart = true
	all, err := b.Start(t.Context(), s, nil)
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	if lost := all[1]; lost.Name != "m1" || !strings.HasPrefix(lost.Lost, "install: stage format: mkfs: no room\n") || !strings.Contains(lost.Lost, "last words") || len(lost.Stages) != 2 {
		t.Errorf("%+v", lost)
	}
	for _, m := range []Started{all[0], all[2]} {
		exit, err := b.Exec(t.Context(), m.Name, guest.Command{Args: []string{"/bin/true"}})
		if err != nil || exit.Code != 0 || m.Lost != "" || m.Stages[len(m.Stages)-1].Name != installing.Ready {
			t.Errorf("%+v: %+v, %v", m, exit, err)
		}
	}
	if _, err := b.Exec(t.Context(), "m1", guest.Command{Args: []string{"/bin/true"}}); err == nil || !strings.Contains(err.Error(), ErrUnknown.Error()) {
		t.Errorf("the lost one: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, machineFolder+"m1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lost one's folder: %v", err)
	}
}

// A machine that fails wherever it goes on begins anew once, on a blank disk, whether
// or not the others could do without it.
func TestInstallBeginsAnew(t *testing.T) {
	for _, apart := range []bool{false, true} {
		t.Run(fmt.Sprint(apart), func(t *testing.T) {
			b := newBench(t)
			s := b.ask("m0", "m1")
			count, disk := filepath.Join(t.TempDir(), "count"), filepath.Join(b.dir, machineFolder+"m1", "disk")
			b.installs(t, &s, `if grep -q m1; then echo x >>`+count+`; if grep -q dirt `+disk+` || test $(wc -l <`+count+`) -lt 2; then
				echo dirt >>`+disk+`; echo '{"stage":"packages","event":"fail","text":"a bad disk"}'; echo last words >&2; exit 1; fi; fi; echo '{"stage":"restart","event":"start"}'`)
			s.Install.Tries, s.Install.Apart = 1, apart
			var anew atomic.Int32
			all, err := b.Start(t.Context(), s, func(e ore.Event) {
				if e.Stage == "retry" && e.Machine == "m1" && e.Text == "install: stage packages: a bad disk: it begins anew, on a blank disk" {
					anew.Add(1)
				}
			})
			if err != nil || len(all) != 2 || all[1].Lost != "" || anew.Load() != 1 {
				t.Fatalf("%+v, %v, it began anew %d times", all, err, anew.Load())
			}
			var names []string
			for _, stage := range all[1].Stages {
				names = append(names, stage.Name)
			}
			if got, want := strings.Join(names, ", "), "installer start, packages, packages, installer start, restart, ready"; got != want {
				t.Errorf("stages %s, want %s", got, want)
			}
			if exit, err := b.Exec(t.Context(), "m1", guest.Command{Args: []string{"/bin/true"}}); err != nil || exit.Code != 0 {
				t.Errorf("%+v, %v", exit, err)
			}
		})
	}
}

// What every other try would end with is not tried again, and said to be so.
func TestLastingFailureIsNotTriedAgain(t *testing.T) {
	b := newBench(t)
	s := b.ask("m0", "m1")
	count := filepath.Join(t.TempDir(), "count")
	b.installs(t, &s, `if grep -q m1; then echo x >>`+count+`; echo '{"stage":"hardware","event":"fail","text":"too small","lasting":true}'; exit 1; fi
		echo '{"stage":"restart","event":"start"}'`)
	s.Install.Tries, s.Install.Apart = 2, true
	all, err := b.Start(t.Context(), s, nil)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	if all[0].Lasting || !all[1].Lasting || !strings.Contains(all[1].Lost, "too small") {
		t.Errorf("%+v", all)
	}
	if tries, err := os.ReadFile(count); err != nil || string(tries) != "x\n" {
		t.Errorf("it was tried %d times, %v", len(tries)/2, err)
	}
}

// Where no machine of a start so much as reaches its installer, that is the host's
// fault, and who asked may try another host. Where one does, the others are lost.
func TestHostsFaultIsNoMachines(t *testing.T) {
	b := newBench(t)
	s := b.ask("m0")
	b.installs(t, &s, `cat >/dev/null; echo '{"stage":"restart","event":"start"}'`)
	s.Install.Apart = true
	b.breakMachine("m0")
	var failed *StartError
	if all, err := b.Start(t.Context(), s, nil); !errors.As(err, &failed) || failed.Stage != "install: boot" {
		t.Errorf("alone: %+v, %v", all, err)
	}
	s = b.ask("m0", "m1")
	b.installs(t, &s, `cat >/dev/null; echo '{"stage":"restart","event":"start"}'`)
	s.Install.Apart = true
	if all, err := b.Start(t.Context(), s, nil); err != nil || len(all) != 2 || !strings.HasPrefix(all[0].Lost, "install: boot: ") || all[1].Lost != "" {
		t.Errorf("beside another: %+v, %v", all, err)
	}
}

// A start that a release ends says so.
func TestReleaseEndsAStart(t *testing.T) {
	b := newBench(t)
	s := b.ask("m0")
	b.installs(t, &s, `echo '{"stage":"base","event":"start"}'; sleep 1000`)
	var releasing sync.WaitGroup
	defer releasing.Wait()
	_, err := b.node.Start(t.Context(), s, func(e ore.Event) {
		if e.Stage == "base" {
			releasing.Go(func() {
				if err := b.node.Release(); err != nil {
					t.Error(err)
				}
			})
		}
	})
	if !errors.Is(err, ErrReleased) {
		t.Error(err)
	}
}
