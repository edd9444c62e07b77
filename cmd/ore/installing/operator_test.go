package installing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"ore/netboot/roster"
)

// TestNamesAreLookedAtFirst gives names that no machine may have: nothing is made for
// it, which takes minutes.
func TestNamesAreLookedAtFirst(t *testing.T) {
	b := newBench(t)
	b.must(t, "assign", one, "--name", "node1", "-f", "node.yaml")
	opened := b.closed
	for name, says := range map[string]string{"Bad_Name": "a-z, 0-9", "node1": "is that of " + one} {
		if err := b.run(t.Context(), "assign", two, "--name", name, "-f", "node.yaml"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, without %q", name, err, says)
		}
	}
	if len(b.wants) != 1 || b.closed != opened {
		t.Errorf("the site was asked for %+v", b.wants)
	}
}

// TestNothingIsNotReady waits on a list on which no machine is assigned, which is no
// success, on one where all that were are installed, and on one where one has failed.
func TestNothingIsNotReady(t *testing.T) {
	b := newBench(t)
	r := b.roster(t)
	if _, _, err := r.Ask(roster.Caller{MAC: card(t, two)}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{b.dir, t.TempDir()} {
		empty := newBench(t)
		empty.dir = dir
		if err := empty.run(t.Context(), "wait"); err == nil || !strings.Contains(err.Error(), "no machine is assigned on the list in "+dir) {
			t.Errorf("nothing to wait for: %v", err)
		}
	}
	end := func(mac, name, event string, ahead time.Duration) {
		t.Helper()
		b.must(t, "assign", mac, "--name", name, "--again", "-f", "node.yaml")
		_, token, err := r.Ask(roster.Caller{MAC: card(t, mac)}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range []roster.Report{{Stage: "restart", Event: "start"}, {Stage: "ready", Event: event, Text: "no space"}} {
			p.Number, p.At = int64(i+1), time.Now().Add(ahead)
			if _, _, err := r.Hear(token, p, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	end(one, "good", "end", 0)
	if b.must(t, "wait"); b.err.String() != "" {
		t.Errorf("of what was installed before is told %s", &b.err)
	}
	for _, ahead := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		end(one, "good", "end", ahead)
		b.must(t, "wait", "good")
		var took float64
		if _, err := fmt.Sscanf(b.err.String(), "ore: good: installed in %f s", &took); err != nil || took < 0 || took > time.Hour.Seconds() {
			t.Errorf("a machine whose clock is %s ahead: %s (%v)", ahead, &b.err, err)
		}
	}
	end(two, "bad", "fail", 0)
	err := b.run(t.Context(), "wait")
	if err == nil || !strings.Contains(err.Error(), "1 of 2 machines failed") || !strings.Contains(err.Error(), "'ore install forget'") {
		t.Errorf("one has failed: %v", err)
	}
	b.must(t, "forget", "bad")
	b.must(t, "wait")
}

// TestMistypedFolder has commands that ask of machines look into a folder that is not
// there: they make none, as 'assign' does.
func TestMistypedFolder(t *testing.T) {
	b := newBench(t)
	b.dir = filepath.Join(t.TempDir(), "mistyped")
	for command, says := range map[string]string{
		"ls": "", "wait": "no machine is assigned on the list in " + b.dir, "wait " + one: "not on the list", "forget " + one: "not on the list",
		cobra.ShellCompNoDescRequestCmd + " wait --dir " + b.dir + " ": "",
	} {
		if err := b.run(t.Context(), strings.Split(command, " ")...); says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, without %q", command, err, says)
		}
		if _, err := os.Stat(b.dir); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%s makes the folder: %v", command, err)
		}
	}
	if b.must(t, "ls"); !strings.Contains(b.err.String(), "no server answers the machines on the list in "+b.dir) {
		t.Errorf("ls says %s", &b.err)
	}
	b.must(t, "assign", one, "-f", "node.yaml")
	if s := b.must(t, "ls"); !strings.Contains(s, one) {
		t.Errorf("assigned:\n%s", s)
	}
}

// TestNobodyServes has commands that look at a list say that no server does.
func TestNobodyServes(t *testing.T) {
	b := newBench(t)
	for _, args := range [][]string{{"ls"}, {"assign", one, "-f", "node.yaml"}} {
		b.must(t, args...)
		if s := b.err.String(); !strings.Contains(s, "no server answers the machines on the list in "+b.dir) {
			t.Errorf("%s says %q", args[0], s)
		}
	}
	b.quiet = true
	if b.must(t, "ls"); b.err.String() != "" {
		t.Errorf("quietly: %q", &b.err)
	}
}

// TestWordsAreCompleted completes the flags of assign that take words.
func TestWordsAreCompleted(t *testing.T) {
	c := Command(&Shell{})
	for flag, want := range map[string]string{"--install-from": "image disk base packages mirror", "--restart": "kexec firmware", "--firmware": "bios uefi"} {
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetErr(io.Discard)
		c.SetArgs([]string{cobra.ShellCompNoDescRequestCmd, "assign", flag, ""})
		if err := c.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := strings.Fields(out.String())
		if n := len(got) - 1; n < 0 || strings.Join(got[:n], " ") != want {
			t.Errorf("%s: %q", flag, got)
		}
	}
}
