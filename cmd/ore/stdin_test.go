package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ore"
)

// feed runs a command of the user's with an input.
func (p *person) feed(t *testing.T, in io.Reader, args ...string) outcome {
	t.Helper()
	cmd := p.command(t.Context(), args...)
	if _, file := in.(*os.File); file {
		cmd.Stdin = in
		return finish(t, cmd)
	}
	r, w, err := os.Pipe() // the user's own, as it would be
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Chown(int(p.uid), int(p.gid)); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer w.Close()
		io.Copy(w, in)
	}()
	cmd.Stdin = r
	return finish(t, cmd)
}

func TestStdin(t *testing.T) {
	p := someone(t)
	list, err := os.Open(p.file(t, "list", "a\nb\nc\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	run := func(more ...string) []string {
		return append([]string{"run", "-q", "--results", p.results(t)}, more...)
	}
	if o := p.feed(t, strings.NewReader("x\ny\n"), run("--", "sh", "-c", "cat; echo end")...); o.code != 0 || o.out != "x\ny\nend\n" {
		t.Errorf("a pipe: %v", o)
	}
	if o := p.feed(t, list, run("--", "wc", "-l")...); o.out != "3\n" {
		t.Errorf("a file: %v", o)
	}
	if o := p.feed(t, strings.NewReader("x"), run("-n", "2", "--", "wc", "-c")...); !strings.Contains(o.out, "0: 0\n") || !strings.Contains(o.out, "1: 0\n") {
		t.Errorf("two machines: %v", o)
	}
	if o := p.feed(t, strings.NewReader("x"), run("-n", "2", "--mode", "first", "--", "wc", "-c")...); o.out != "0: 1\n" {
		t.Errorf("rank 0 of two: %v", o)
	}
	if o := p.feed(t, strings.NewReader("x"), run("--stdin=false", "--", "wc", "-c")...); o.out != "0\n" {
		t.Errorf("--stdin=false: %v", o)
	}
	if o := p.feed(t, strings.NewReader("t1\nt2\n"), run("--tasks", "/dev/stdin", "--", "sh", "-c", "echo $ORE_TASK")...); o.out != "t1\nt2\n" {
		t.Errorf("tasks from a pipe: %v", o)
	}
	if o := p.feed(t, strings.NewReader("run: {script: wc -c}"), run("-f", "-")...); o.out != "0\n" {
		t.Errorf("a job file from a pipe: %v", o)
	}
	p.refused(t, ore.ExitUsage, []string{"--stdin: more than one machine"}, run("-n", "2", "--stdin", "--", "true")...)
}

// A job that does not read is not held up by an input without end, and one that
// reads some of it neither.
func TestStdinThatNobodyReads(t *testing.T) {
	p := someone(t)
	silent, w, err := os.Pipe() // an input that gives nothing and does not end
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	defer w.Close()
	endless, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer endless.Close()
	for name, in := range map[string]*os.File{"silent": silent, "endless": endless} {
		cmd := p.command(t.Context(), "run", "-q", "--results", p.results(t), "--", "head", "-c", "0")
		cmd.Stdin = in
		if o := finish(t, cmd); o.code != 0 || o.took > sawDeadline {
			t.Errorf("%s: %v", name, o)
		}
	}
}

// What one command's job did not need of a list is there for the next.
func TestStdinOfALoop(t *testing.T) {
	p := someone(t)
	cmd := p.command(t.Context())
	ore := filepath.Join(theWorld.dir, program)
	sh := exec.Command("/bin/sh", "-c", `printf 'a\nb\n' | while read x; do "$0" run -q --results "$1" --stdin=false -- echo "$x"; done`, ore, p.results(t))
	sh.Dir, sh.Env, sh.SysProcAttr = cmd.Dir, cmd.Env, cmd.SysProcAttr
	if o := finish(t, sh); o.out != "a\nb\n" {
		t.Errorf("%v", o)
	}
}
