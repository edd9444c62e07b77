package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
)

// What is asked wrongly is refused at once, with the place of the fault and what
// is allowed, and leaves no folder of results.
func TestRefusals(t *testing.T) {
	p := someone(t)
	p.file(t, "bad.yaml", "name: x\nmachines: {count: many}\nbogus: 1\n")
	p.file(t, "bad2.yaml", "name: x\nrun:\n  command: [true]\n  timeout: -3\n")
	p.file(t, "text.yaml", "just text\n")
	p.file(t, "empty", "\n\n")
	p.file(t, "large.yaml", "machines: {root: disk, disk: 2G, disks: [{partitions: [{size: 8G, fs: ext4, mount: /}]}]}\nrun: {command: [\"true\"]}\n")
	p.file(t, "same/x", "")
	p.file(t, "x", "")
	for _, c := range []struct {
		summary string
		args    []string
		words   []string
	}{
		{"unknown key and wrong type, with line and column", []string{"-f", "bad.yaml"},
			[]string{"bad.yaml:2:19: machines.count", "whole number", `bad.yaml:3:1: unknown key "bogus"`, "allowed are"}},
		{"value out of range, with line and column", []string{"-f", "bad2.yaml"}, []string{"bad2.yaml:4:12: run.timeout"}},
		{"no mapping", []string{"-f", "text.yaml"}, []string{"text.yaml:1:1"}},
		{"no such job file", []string{"-f", "nowhere.yaml"}, []string{"nowhere.yaml"}},
		{"CPUs that the hypervisor does not have", []string{"--cpus", "4", "--hypervisor", "uml", "--", "true"},
			[]string{"4 CPUs: User Mode Linux has one: use cpus: 1, or hypervisor: qemu"}},
		{"no command", nil, []string{"no command: give one after --"}},
		{"no machines", []string{"-n", "0", "--", "true"}, []string{"count is 0: use 1 to"}},
		{"memory that is no size", []string{"-m", "much", "--", "true"}, []string{"--memory"}},
		{"too little memory for any machine", []string{"-m", "1M", "--", "true"}, []string{"memory is 1M: use"}},
		{"an input that is not there", []string{"-i", "nosuch", "--", "true"}, []string{"nosuch", "correct the path or make the file"}},
		{"two inputs of one name", []string{"-i", "x", "-i", "same/x", "--", "true"}, []string{"both would be x", "rename one"}},
		{"a secret that is not there", []string{"--secret", "A=nosuch", "--", "true"}, []string{"secret A", "correct the path"}},
		{"an output outside", []string{"-o", "../x", "--", "true"}, []string{`output "../x"`, "use a pattern"}},
		{"tasks that are not there", []string{"--tasks", "nosuch", "--", "true"}, []string{"tasks", "nosuch", "correct the path"}},
		{"no tasks", []string{"--tasks", "empty", "--", "true"}, []string{"there are none", "give"}},
		{"no files of tasks", []string{"--task-files", "nosuch*", "--", "true"}, []string{"there are none", "give"}},
		{"an unknown flag", []string{"--nosuch", "--", "true"}, []string{"--nosuch", "ore run --help"}},
		{"an empty job file", []string{"-f", "empty"}, []string{"empty:1:1: an empty file: allowed are the keys"}},
		{"a number that is none", []string{"-n", "x", "--", "true"}, []string{`--machines "x": use a whole number: see 'ore run --help'`}},
		{"a time without a unit", []string{"--timeout", "5", "--", "true"}, []string{`--timeout "5": use a time such as 90s`}},
		{"tasks on each machine", []string{"--tasks", "x", "--mode", "each", "--", "true"}, []string{"--mode each: a list of tasks was given: use --mode array"}},
		{"a mirror that is none", []string{"--mirror", "foo", "--", "true"}, []string{`--mirror "foo": not a mirror's address: use one such as`}},
		{"a cache that is none", []string{"--cache", "ftp://x", "--", "true"}, []string{`cache "ftp://x": not an address: write https://`}},
		{"standard input for two", []string{"-n", "2", "--stdin", "--", "true"}, []string{"--stdin: more than one machine"}},
		{"an unknown mode", []string{"--mode", "all", "--", "true"}, []string{"use each, first or array"}},
		{"a port of no machine", []string{"--publish", "0:1:80", "--", "true"}, []string{"there is no rank 1"}},
		{"a lock that is not there", []string{"--lock", "nosuch.lock", "--", "true"}, []string{"nosuch.lock"}},
		{"a root larger than its disk", []string{"-f", "large.yaml"}, []string{"machines: disk", "use a larger disk"}},
		{"hosts, and none is named", []string{"--engine", "hosts", "--", "true"}, []string{"no hosts: name some with --host"}},
		{"a lock and packages", []string{"--lock", "x", "-p", "hello", "--", "true"}, []string{"--lock and --package: the lock says what there is"}},
	} {
		t.Run(c.summary, func(t *testing.T) {
			results := filepath.Join(p.results(t), "never")
			p.refused(t, ore.ExitUsage, c.words, append([]string{"run", "--results", results}, c.args...)...)
			if _, err := os.Stat(results); !os.IsNotExist(err) {
				t.Errorf("a folder of results was made: %v", err)
			}
		})
	}
}

// A job that could not begin leaves neither a record nor a folder.
func TestNothingIsLeftOfWhatNeverBegan(t *testing.T) {
	p := someone(t)
	before := p.must(t, "jobs", "ls", "--json").out
	results := filepath.Join(p.results(t), "never")
	p.refused(t, ore.ExitFailed, []string{"nosuch.keys"}, "run", "--results", results, "--host", "h1", "--host-keys", "nosuch.keys", "--", "true")
	if after := p.must(t, "jobs", "ls", "--json").out; after != before {
		t.Errorf("jobs were\n%s\nand are\n%s", before, after)
	}
	if _, err := os.Stat(results); !os.IsNotExist(err) {
		t.Errorf("a folder of results was made: %v", err)
	}
}

func TestUnknownCommandsAndWords(t *testing.T) {
	p := someone(t)
	for _, args := range [][]string{{"rnu"}, {"images", "lsx"}, {"version", "more"}, {"exec", "bed"}, {"grow"}, {"down"}, {"jobs", "rm"}, {"cp", "a", "b"}} {
		p.refused(t, ore.ExitUsage, []string{"ore: "}, args...)
	}
	p.refused(t, ore.ExitUsage, []string{`no command "rnu": did you mean run?`}, "rnu")
	p.refused(t, ore.ExitUsage, []string{`build: it takes no word such as "extra"`}, "build", "extra")
	p.refused(t, ore.ExitUsage, []string{"exec: one word is not what it takes: write 'ore exec NAME [flags] -- command"}, "exec", "bed")
}

func TestUnknownPackage(t *testing.T) {
	p := someone(t)
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{[]string{"-p", "ncbi-blast"}, []string{"package ncbi-blast:", "did you mean ncbi-blast+"}},
		{[]string{"-p", "hello=0.1"}, []string{"hello", "0.1"}},
		{[]string{"--base", "debian/nosuch"}, []string{"suite nosuch", "check its name"}},
	} {
		args := append([]string{"run", "-q", "--results", p.results(t)}, c.args...)
		p.refused(t, ore.ExitFailed, c.words, append(args, "--", "true")...)
		p.refused(t, ore.ExitFailed, c.words, append([]string{"build", "-q"}, c.args...)...)
		p.refused(t, ore.ExitFailed, c.words, append([]string{"plan", "-q"}, c.args...)...)
	}
}

func TestVersionHelpCompletionAndPages(t *testing.T) {
	p := someone(t)
	if o := p.must(t, "version"); !strings.HasPrefix(o.out, "ore ") {
		t.Errorf("version: %v", o)
	}
	if o := p.must(t, "--help"); !strings.Contains(o.out, "Machines that are kept:") {
		t.Errorf("help: %v", o)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if o := p.must(t, "completion", shell); !strings.Contains(o.out, "ore") {
			t.Errorf("completion %s: %v", shell, o)
		}
	}
	o := p.must(t, "__complete", "run", "--hypervisor", "")
	if !strings.Contains(o.out, "uml\n") || !strings.Contains(o.out, "qemu\n") {
		t.Errorf("completion of a flag: %v", o)
	}
	dir := filepath.Join(p.results(t), "man")
	p.must(t, "man", dir)
	for _, page := range []string{"ore.1", "ore-run.1", "ore-images-verify.1", "ore-jobs-logs.1"} {
		if text := read(t, dir, page); !strings.Contains(text, ".SH SYNOPSIS") {
			t.Errorf("%s: %.200s", page, text)
		}
	}
}

func TestNoFolderForState(t *testing.T) {
	p := *someone(t)
	p.env = []string{"PATH=" + os.Getenv("PATH")}
	p.refused(t, ore.ExitFailed, []string{"neither HOME nor ORE_HOME is set: set ORE_HOME to a folder of yours"}, "jobs", "ls")
	p.env = []string{"ORE_HOME=/proc/nowhere"}
	p.refused(t, ore.ExitFailed, []string{"set ORE_HOME to a folder that you can write to"}, "jobs", "ls")
}

func TestDoctor(t *testing.T) {
	p := someone(t)
	o := p.must(t, "doctor")
	for _, w := range []string{"ok    machines: uml", "works", "no wall against root of a machine", "ok    mirror and its signature"} {
		if !strings.Contains(o.out, w) {
			t.Errorf("does not say %q: %v", w, o)
		}
	}
}
