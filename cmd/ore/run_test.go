package main

import (
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ore"
)

func TestRunOnOneMachine(t *testing.T) {
	p := someone(t)
	results := p.results(t)
	o := p.must(t, "run", "--results", results, "--", "sh", "-c", "echo out; echo err >&2; id -u; pwd; uname -n")
	if want := "out\n0\n/job\nm0\n"; o.out != want {
		t.Errorf("stdout %q, want %q", o.out, want)
	}
	if !strings.Contains(o.err, "err\n") {
		t.Errorf("stderr %q lacks the job's", o.err)
	}
	dir := only(t, results)
	if got := read(t, dir, "0", "stdout"); got != o.out {
		t.Errorf("kept stdout %q, shown %q", got, o.out)
	}
	if got := read(t, dir, "0", "stderr"); got != "err\n" {
		t.Errorf("kept stderr %q", got)
	}
	r := result(t, results)
	if r.Kind != ore.Finished || r.ExitCode != 0 || len(r.Ranks) != 1 || r.Ranks[0].Machine != "m0" {
		t.Errorf("result %+v", r)
	}
	checkTimeline(t, dir, r)
}

// checkTimeline wants every stage of a run, in order, in all three forms.
func checkTimeline(t *testing.T, dir string, r ore.Result) {
	t.Helper()
	var names []string
	for _, s := range r.Timeline {
		if s.End.Before(s.Start) {
			t.Errorf("stage %s ends before it starts", s.Name)
		}
		if s.Machine == "" {
			names = append(names, s.Name)
		}
	}
	if want := []string{"resolve", "find", "image", "reserve", "start", "run", "release"}; !slices.Equal(names, want) {
		t.Errorf("stages %v, want %v", names, want)
	}
	d := xml.NewDecoder(strings.NewReader(read(t, dir, "timeline.svg")))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("timeline.svg: %v", err)
		}
	}
	var trace any
	if err := json.Unmarshal([]byte(read(t, dir, "trace.json")), &trace); err != nil {
		t.Errorf("trace.json: %v", err)
	}
}

func TestRunOnMachinesThatKnowEachOther(t *testing.T) {
	p := someone(t)
	o := p.must(t, "run", "-q", "-n", "3", "--results", p.results(t), "-e", "A=b c", "--name", "trio", "--", "sh", "-c",
		`getent hosts m0 m1 m2 | wc -l; echo "$ORE_RANK of $ORE_SIZE on $(hostname): $ORE_HOSTS, $A, ${ORE_JOB%-*}"`)
	lines := strings.Split(strings.TrimSpace(o.out), "\n")
	slices.Sort(lines)
	want := []string{
		"0: 0 of 3 on m0: m0,m1,m2, b c, trio", "0: 3", "1: 1 of 3 on m1: m0,m1,m2, b c, trio", "1: 3",
		"2: 2 of 3 on m2: m0,m1,m2, b c, trio", "2: 3",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q\nwant %q", lines, want)
	}
}

func TestExitCodes(t *testing.T) {
	p := someone(t)
	for _, c := range []struct {
		summary string
		args    []string
		code    int
		kind    ore.Kind
		signal  string
	}{
		{"the job's own", []string{"--", "sh", "-c", "exit 7"}, 7, ore.Finished, ""},
		{"the largest of the ranks", []string{"-n", "2", "--", "sh", "-c", "exit $ORE_RANK"}, 1, ore.Finished, ""},
		{"a signal, as shells give it", []string{"--", "sh", "-c", "kill -SEGV $$"}, 139, ore.Finished, "SIGSEGV"},
		{"the job's own 124 is no time limit", []string{"--", "sh", "-c", "exit 124"}, 124, ore.Finished, ""},
		{"the job's own 125 is no failure of ore", []string{"--", "sh", "-c", "exit 125"}, 125, ore.Finished, ""},
		{"a program that is not there", []string{"--", "no-such-program"}, 127, ore.Finished, ""},
		{"the time limit", []string{"--timeout", "1s", "--", "sleep", "1000"}, 124, ore.TimedOut, "SIGTERM"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			results := p.results(t)
			o := p.ore(t, append([]string{"run", "-q", "--results", results}, c.args...)...)
			if o.code != c.code {
				t.Errorf("not exit code %d: %v", c.code, o)
			}
			r := result(t, results)
			if r.Kind != c.kind || r.ExitCode != c.code {
				t.Errorf("result: kind %s, exit code %d; want %s, %d", r.Kind, r.ExitCode, c.kind, c.code)
			}
			if got := r.Ranks[0].Signal; got != c.signal {
				t.Errorf("signal %q, want %q", got, c.signal)
			}
			if c.kind == ore.TimedOut && !strings.Contains(o.err, "time limit of 1s reached: raise run.timeout") {
				t.Errorf("does not say what to do: %v", o)
			}
		})
	}
}

func TestJSONIsTheWholeResult(t *testing.T) {
	p := someone(t)
	results := p.results(t)
	o := p.must(t, "run", "--json", "--results", results, "--", "echo", "not shown")
	var shown ore.Result
	if err := json.Unmarshal([]byte(o.out), &shown); err != nil {
		t.Fatalf("%v: %v", err, o)
	}
	if kept := result(t, results); kept.Image != shown.Image || kept.Job != shown.Job || len(kept.Timeline) != len(shown.Timeline) {
		t.Errorf("shown %+v\nkept %+v", shown, kept)
	}
	if o.err != "" {
		t.Errorf("stderr %q", o.err)
	}
}

func TestInputsAndOutputs(t *testing.T) {
	p := someone(t)
	p.file(t, "in/a.txt", "alpha\n")
	p.file(t, "in/deep/b.txt", "beta\n")
	p.file(t, "single", "one\n")
	results := p.results(t)
	p.must(t, "run", "-q", "-n", "2", "--results", results, "-i", "in", "-i", "single", "-o", "*.out", "-o", "tree", "--", "sh", "-c",
		`cat in/a.txt in/deep/b.txt single >$ORE_RANK.out; mkdir -p tree/x; echo $ORE_RANK >tree/x/y; ln -s x/y tree/link; echo no >left`)
	for _, rank := range []string{"0", "1"} {
		dir := filepath.Join(only(t, results), rank)
		if got := read(t, dir, rank+".out"); got != "alpha\nbeta\none\n" {
			t.Errorf("rank %s: %q", rank, got)
		}
		if got := read(t, dir, "tree/link"); got != rank+"\n" {
			t.Errorf("rank %s: tree/link: %q", rank, got)
		}
		if _, err := os.Stat(filepath.Join(dir, "left")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("rank %s: a file came home that no pattern names: %v", rank, err)
		}
	}
	want := []string{"0.out", "tree/link", "tree/x/y"}
	if got := result(t, results).Ranks[0].Outputs; !slices.Equal(got, want) {
		t.Errorf("outputs %v, want %v", got, want)
	}
}

// A machine is not trusted: what its outputs are called and point to must not
// matter to the host.
func TestOutputsStayInTheirFolder(t *testing.T) {
	p := someone(t)
	results := p.results(t)
	o := p.ore(t, "run", "-q", "--results", results, "-o", "*", "--", "sh", "-c",
		`ln -s /etc/shadow abs; ln -s ../../../../../../../../etc/shadow rel; mkdir d; ln -s / d/root; mkfifo pipe; echo good >good`)
	if o.code != ore.ExitFailed {
		t.Errorf("not exit code 125: %v", o)
	}
	for _, w := range []string{"outputs of m0: refused", `"abs"`, `"rel"`, `"d/root"`, "outside of the folder", "copy what they point to"} {
		if !strings.Contains(o.err, w) {
			t.Errorf("does not say %q: %v", w, o)
		}
	}
	dir := filepath.Join(only(t, results), "0")
	if got := read(t, dir, "good"); got != "good\n" {
		t.Errorf("the harmless output: %q", got)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type()&os.ModeSymlink != 0 {
			t.Errorf("%s: a link that should have been refused", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestArray(t *testing.T) {
	p := someone(t)
	p.file(t, "tasks.txt", "a\nb c\n\nd\ne\nf\n")
	p.file(t, "shared", "s")
	results := p.results(t)
	o := p.ore(t, "run", "-q", "-n", "2", "--results", results, "--tasks", "tasks.txt", "-i", "shared", "-o", "out", "--", "sh", "-c",
		`[ -e out ] && exit 99; echo "$ORE_TASK $(cat shared)" >out; cat out; [ "$ORE_TASK" != d ] || exit 5`)
	if o.code != 5 {
		t.Errorf("not the largest of the tasks: %v", o)
	}
	r := result(t, results)
	var tasks []string
	machines := map[string]bool{}
	for i, part := range r.Ranks {
		tasks = append(tasks, part.Task)
		machines[part.Machine] = true
		got := read(t, only(t, results), "task-"+string(rune('0'+i)), "out")
		if want := part.Task + " s\n"; got != want {
			t.Errorf("task %d: %q, want %q", i, got, want)
		}
	}
	if want := []string{"a", "b c", "d", "e", "f"}; !slices.Equal(tasks, want) {
		t.Errorf("tasks %q, want %q", tasks, want)
	}
	if len(machines) != 2 {
		t.Errorf("machines %v: the tasks were not spread", machines)
	}
}

func TestArrayOfFiles(t *testing.T) {
	p := someone(t)
	p.file(t, "chunks/x.fa", "xx")
	p.file(t, "chunks/y.fa", "yyy")
	o := p.must(t, "run", "-q", "--results", p.results(t), "--task-files", "chunks/*.fa", "--", "sh", "-c", `echo "$ORE_TASK $(cat $ORE_TASK)"`)
	if want := "x.fa xx\ny.fa yyy\n"; o.out != want {
		t.Errorf("stdout %q, want %q", o.out, want)
	}
}

func TestSecretsLeaveNoCopy(t *testing.T) {
	p := someone(t)
	secret := rand.Text() // a constant would be in the program of the tests, which is among what is kept
	p.file(t, "token", secret)
	results := p.results(t)
	o := p.must(t, "run", "-q", "--results", results, "--secret", "TOKEN=token", "--", "sh", "-c",
		`[ "$(cat "$TOKEN")" = `+secret+` ] && stat -f -c %T "$TOKEN"`)
	if o.out != "tmpfs\n" {
		t.Errorf("stdout %q: not in memory", o.out)
	}
	for _, dir := range []string{only(t, results), filepath.Join(p.home, "state"), filepath.Join(p.home, "images")} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			// The command line of the test names it too.
			if err == nil && strings.Contains(strings.ReplaceAll(string(b), "= "+secret+" ]", ""), secret) {
				t.Errorf("%s holds the secret", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestModeFirstLaunchesOntoTheOthers(t *testing.T) {
	p := someone(t)
	o := p.must(t, "run", "-q", "-n", "2", "--mode", "first", "--results", p.results(t), "--", "sh", "-c",
		`hostname; cat "$ORE_HOSTFILE" 2>/dev/null; ssh m1 hostname || rsh m1 hostname`)
	if !strings.Contains(o.out, "m0\n") || !strings.HasSuffix(o.out, "m1\n") {
		t.Errorf("%v", o)
	}
}

// An interrupt ends the job in order: the command hears SIGTERM, what it had
// written is kept, and ore says that it was cancelled.
func TestInterrupt(t *testing.T) {
	p := someone(t)
	results := p.results(t)
	r := p.begin(t, "run", "--results", results, "--", "sh", "-c", `trap 'echo told; exit 0' TERM; echo at work; while :; do sleep 0.1; done`)
	r.saw(t, "at work") // no word of the build's
	r.signal(t, syscall.SIGINT)
	o := r.end(t)
	if o.code != ore.ExitCancelled {
		t.Errorf("not exit code 130: %v", o)
	}
	if got := read(t, only(t, results), "0", "stdout"); got != "at work\ntold\n" {
		t.Errorf("kept stdout %q", got)
	}
	if res := result(t, results); res.Kind != ore.Cancelled || res.ExitCode != ore.ExitCancelled {
		t.Errorf("result: %s, %d", res.Kind, res.ExitCode)
	}
}

// A job that ignores the end, and somebody who does not want to wait.
func TestSecondInterruptKills(t *testing.T) {
	p := someone(t)
	results := p.results(t)
	r := p.begin(t, "run", "--results", results, "--", "sh", "-c", `trap 'echo told; sleep 1; echo patient' TERM; echo in-the-job; while :; do sleep 0.1; done`)
	r.saw(t, "in-the-job")
	r.signal(t, syscall.SIGINT)
	r.saw(t, "patient") // signals that come at once are one request
	r.signal(t, syscall.SIGINT)
	if o := r.end(t); o.code != ore.ExitCancelled || !strings.Contains(o.err, ": cancelled, killed; results in ") {
		t.Errorf("not exit code 130, or without a last word: %v", o)
	}
	if res := result(t, results); res.Kind != ore.Cancelled || res.ExitCode != ore.ExitCancelled {
		t.Errorf("result: %s, %d", res.Kind, res.ExitCode)
	}
	id := filepath.Base(only(t, results))
	// Sweeping what the killed one left is its janitor's, who may still be at it.
	p.settled(t)
	if o := p.must(t, "jobs", "ls"); !regexp.MustCompile(id + ` +over +cancelled +130 `).MatchString(o.out) {
		t.Errorf("jobs ls: %v", o)
	}
}

func TestJobs(t *testing.T) {
	p := someone(t)
	results := p.results(t)
	p.must(t, "run", "-q", "--name", "kept", "--results", results, "--", "sh", "-c", "echo hello; echo bye >&2")
	id := filepath.Base(only(t, results))
	if o := p.must(t, "jobs", "ls"); !regexp.MustCompile(id + ` +over +finished +0 `).MatchString(o.out) {
		t.Errorf("jobs ls: %v", o)
	}
	if o := p.must(t, "jobs", "show", "kept"); !strings.Contains(o.out, "kind     finished, exit code 0") || !strings.Contains(o.out, "boot") {
		t.Errorf("jobs show: %v", o)
	}
	if o := p.must(t, "jobs", "logs", id); o.out != "hello\n" || o.err != "bye\n" {
		t.Errorf("jobs logs: %v", o)
	}
	p.refused(t, ore.ExitFailed, []string{`no rank "3"`}, "jobs", "logs", id, "--rank", "3")
	p.must(t, "jobs", "rm", "--results", id)
	if _, err := os.Stat(filepath.Join(results, id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the results are still there: %v", err)
	}
	p.refused(t, ore.ExitFailed, []string{"there is none: see 'ore jobs ls'"}, "jobs", "show", id)
}
