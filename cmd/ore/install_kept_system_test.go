//go:build system

package main

import (
	"strings"
	"testing"

	"ore"
)

// failing is a job whose machines cannot finish their installation until somebody
// mends them.
const failing = `machines: {root: disk, disk: 2G, memory: 512M, hypervisor: uml}
environment:
  packages: [hello]
  steps:
    - {name: first, run: "echo once >>/opt/first"}
    - {name: second, needs: [first], run: "echo it is too late; test $(cat /proc/sys/vm/swappiness) = 42 && hello >/opt/second"}
`

// A machine whose installation failed ends with all others. If it is to be kept,
// its step and what that said are told, its console is shown, commands run on it,
// and once it is mended it goes on with that step, and is then what was asked for.
func TestKeepFailed(t *testing.T) {
	p := someone(t)
	p.file(t, "failing.yaml", failing)
	said := []string{"stage scripts", "step second", "it is too late"}
	args := []string{"-f", "failing.yaml", "--install-from", "base"}
	p.refused(t, ore.ExitFailed, said, append(append([]string{"run", "-q", "-n", "2", "--results", p.results(t)}, args...), "--", "true")...)
	if o := p.must(t, "jobs", "ls"); strings.Contains(o.out, "running") {
		t.Errorf("a job runs although nobody keeps it: %s", o.out)
	}

	p.refused(t, ore.ExitFailed, append(said, "ore console mend m0", "ore retry mend", "ore down mend"), append([]string{"up", "-q", "-n", "2", "--name", "mend", "--keep-failed"}, args...)...)
	defer p.ore(t, "down", "mend")
	if o := p.must(t, "console", "mend", "m1"); !strings.Contains(o.out, "step second") {
		t.Errorf("the console: %q", o.out)
	}
	if o := p.must(t, "jobs", "show", "mend"); strings.Count(o.out, "its installation failed: see") != 2 {
		t.Errorf("%s", o.out)
	}
	mend := func(ranks string) {
		p.must(t, "exec", "mend", "--rank", ranks, "--", "sh", "-c", "echo 42 >/proc/sys/vm/swappiness")
	}
	mend("0")
	p.refused(t, ore.ExitFailed, append(said, "machine m1"), "retry", "-q", "mend")
	mend("1")
	o := p.must(t, "retry", "mend")
	if strings.Contains(o.out, "m0") || !strings.Contains(o.out, "m1") {
		t.Errorf("what is ready is started anew: %s", o.out)
	}
	if o := p.must(t, "exec", "mend", "--", "cat", "/opt/first", "/opt/second"); strings.Join(sorted(o.out), " ") != "0: Hello, world! 0: once 1: Hello, world! 1: once" {
		t.Errorf("%q", o.out)
	}
	p.refused(t, ore.ExitFailed, []string{"no machine's installation has failed"}, "retry", "mend")
	p.must(t, "down", "mend")
}

// A step whose words are wrong is mended in the job file: the machines go on with
// it, and what was done before it is not done again.
func TestRetryMended(t *testing.T) {
	p := someone(t)
	job := func(first, second, more string) string {
		return "name: mended\nmachines: {root: disk, disk: 2G, memory: 512M, hypervisor: uml}\nenvironment:\n  packages: [hello" + more + "]\n  steps:\n" +
			"    - {name: first, run: \"" + first + "\"}\n    - {name: second, needs: [first], run: \"" + second + "\"}\n"
	}
	const once = "cat /proc/sys/kernel/random/uuid >/opt/first"
	p.file(t, "mended.yaml", job(once, "helo >/opt/second", ""))
	p.refused(t, ore.ExitFailed, []string{"step second", "helo"}, "up", "-q", "-f", "mended.yaml", "--install-from", "base", "--keep-failed")
	defer p.ore(t, "down", "mended")
	p.file(t, "mended.yaml", job(once, "hello >/opt/second", ", jq"))
	p.refused(t, ore.ExitFailed, []string{"other environment.packages", "ore down mended"}, "retry", "-q", "mended", "-f", "mended.yaml")
	p.refused(t, ore.ExitUsage, []string{"give it with -f"}, "retry", "mended", "-p", "jq")
	p.file(t, "mended.yaml", job(once, "hello >/opt/second; exit 3", ""))
	p.refused(t, ore.ExitFailed, []string{"steps that differ: second;", "step second: /bin/sh: exit code 3"}, "retry", "mended", "-f", "mended.yaml")
	p.file(t, "mended.yaml", job(once, "hello >/opt/second", ""))
	p.must(t, "retry", "mended", "-f", "mended.yaml")
	if o := p.must(t, "exec", "mended", "--", "cat", "/opt/second"); o.out != "Hello, world!\n" {
		t.Errorf("%q", o.out)
	}
	if o := p.must(t, "console", "mended"); strings.Count(o.out, "first: done before") < 1 {
		t.Logf("the console: %s", o.out)
	}
	p.must(t, "down", "mended")
}

// What a run leaves is kept under the job's name.
func TestRunKeepsFailed(t *testing.T) {
	p := someone(t)
	p.file(t, "failing.yaml", "name: left\n"+failing)
	o := p.ore(t, "run", "-q", "-f", "failing.yaml", "--install-from", "base", "--keep-failed", "--results", p.results(t), "--", "true")
	_, rest, told := strings.Cut(o.err, "ore down ")
	if o.code != ore.ExitFailed || !told {
		t.Fatalf("%v", o)
	}
	id, _, _ := strings.Cut(rest, "'")
	defer p.ore(t, "down", id)
	p.must(t, "exec", id, "--", "sh", "-c", "echo 42 >/proc/sys/vm/swappiness")
	p.must(t, "retry", "-q", id)
	if o := p.must(t, "exec", id, "--", "cat", "/opt/second"); o.out != "Hello, world!\n" {
		t.Errorf("%q", o.out)
	}
	p.must(t, "down", id)
}
