package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore"
)

// listed is what 'ore images ls --json' says of an input.
type listed struct {
	Key    ore.Key
	Suite  string
	Wanted []string
	Uses   int
}

// inputs lists the inputs called name that are kept.
func (p *person) inputs(t *testing.T, name string) []listed {
	t.Helper()
	var all []listed
	if err := json.Unmarshal([]byte(p.must(t, "images", "ls", "--json").out), &all); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(e listed) bool {
		return !strings.HasPrefix(e.Suite, "input/") || !slices.Equal(e.Wanted, []string{name})
	})
}

// What is mounted is there in all machines, also in ones that come later, is
// made once, cannot be written to, and follows its source.
func TestMount(t *testing.T) {
	p := someone(t)
	p.file(t, "proteins/sub/a", "MKV\n")
	p.file(t, "lone.fa", ">lone\n")
	p.file(t, "mount.yaml", "run:\n  script: cat /data/db/sub/a lone.fa; ! echo x >>/data/db/sub/a\n  inputs:\n    - {source: proteins, mount: /data/db}\n    - {source: lone.fa}\n")
	want := []string{"0: >lone", "0: MKV", "1: >lone", "1: MKV"}
	run := func(args ...string) []string {
		t.Helper()
		return sorted(p.must(t, append([]string{"run", "-q", "-n", "2", "--results", p.results(t)}, args...)...).out)
	}
	if got := run("-f", "mount.yaml"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	made := p.inputs(t, "proteins")
	if len(made) != 1 || made[0].Suite != "input/folder" || len(p.inputs(t, "lone.fa")) != 0 {
		t.Fatalf("kept %+v", made)
	}
	if got := run("--mount", "proteins:/data/db:ro", "--mount", "type=bind,source=lone.fa,target=/job/lone.fa,readonly", "--hypervisor", "uml",
		"--", "sh", "-c", "cat /data/db/sub/a lone.fa; ! echo x 2>/dev/null >lone.fa"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if again := p.inputs(t, "proteins"); len(again) != 1 || again[0].Key != made[0].Key {
		t.Errorf("kept %+v, then %+v", made, again)
	}

	p.must(t, "up", "-q", "--name", "mounted", "--mount", "proteins:/data/db")
	t.Cleanup(func() { p.ore(t, "down", "mounted") })
	if again := p.inputs(t, "proteins"); len(again) != 1 || again[0].Uses == 0 {
		t.Errorf("it was read again: %+v", again)
	}
	p.refused(t, ore.ExitFailed, []string{"a running job has it: end the job first"}, "images", "rm", string(made[0].Key))
	p.file(t, "proteins/sub/a", "new\n")
	p.must(t, "grow", "-q", "mounted", "-n", "2")
	if got, want := sorted(p.must(t, "exec", "mounted", "--", "cat", "/data/db/sub/a").out), []string{"0: MKV", "1: MKV"}; !slices.Equal(got, want) {
		t.Errorf("a bed whose source has changed: %q, want %q", got, want)
	}
	p.must(t, "down", "mounted")
	if got := run("-f", "mount.yaml"); !slices.Equal(got, []string{"0: >lone", "0: new", "1: >lone", "1: new"}) {
		t.Errorf("after a change: %q", got)
	}
	for _, e := range p.inputs(t, "proteins") {
		p.must(t, "images", "rm", string(e.Key))
	}
	if left := p.inputs(t, "proteins"); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

// Mounts that cannot be are refused before anything is done.
func TestMountRefusals(t *testing.T) {
	p := someone(t)
	p.file(t, "db/x", "")
	for _, c := range []struct {
		summary string
		args    []string
		words   []string
	}{
		{"no path", []string{"--mount", "db"}, []string{`--mount "db": use SOURCE:PATH, such as ./db:/data/db`}},
		{"to be written", []string{"--mount", "db:/data:rw"}, []string{"read-only: leave rw out"}},
		{"no such source", []string{"--mount", "nosuch:/data"}, []string{"nosuch", "correct the path or make the file"}},
		{"two in one place", []string{"--mount", "db:/data", "--mount", "db:/data"}, []string{"two are mounted at /data"}},
		{"in memory", []string{"--mount", "db:/dev/db"}, []string{"a machine has its own /dev"}},
	} {
		t.Run(c.summary, func(t *testing.T) {
			results := filepath.Join(p.results(t), "never")
			p.refused(t, ore.ExitUsage, c.words, append(append([]string{"run", "--results", results}, c.args...), "--", "true")...)
			if _, err := os.Stat(results); !os.IsNotExist(err) {
				t.Errorf("a folder of results was made: %v", err)
			}
		})
	}
}
