package main

import (
	"bufio"
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ore"
)

// sorted are the lines of a text in the order of letters.
func sorted(s string) []string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	slices.Sort(lines)
	return lines
}

// The life of a test bed: up, commands, files, more machines, ports, the end.
func TestBed(t *testing.T) {
	p := someone(t)
	p.file(t, "greeting", "hello bed\n")
	o := p.must(t, "up", "-q", "--name", "bed", "-n", "2", "-i", "greeting", "--publish", "127.0.0.1:0:1:7000")
	t.Cleanup(func() { p.ore(t, "down", "bed") })
	port := regexp.MustCompile(`port +(127\.0\.0\.1:\d+) -> m1:7000`).FindStringSubmatch(o.out)
	if port == nil {
		t.Fatalf("no port is told: %v", o)
	}

	if got, want := sorted(p.must(t, "exec", "bed", "--", "sh", "-c", "hostname; cat greeting").out),
		[]string{"0: hello bed", "0: m0", "1: hello bed", "1: m1"}; !slices.Equal(got, want) {
		t.Errorf("exec: %q, want %q", got, want)
	}
	if o := p.ore(t, "exec", "bed", "--rank", "1", "--", "sh", "-c", "echo one; exit 3"); o.code != 3 || o.out != "one\n" {
		t.Errorf("exec on rank 1: %v", o)
	}
	cmd := p.command(t.Context(), "exec", "bed", "--rank", "0", "--", "wc", "-c")
	cmd.Stdin = strings.NewReader(strings.Repeat("x", 1_000_000))
	if o := finish(t, cmd); o.out != "1000000\n" {
		t.Errorf("standard input of exec: %v", o)
	}
	p.refused(t, ore.ExitFailed, []string{"not all of rank 5 are there"}, "exec", "bed", "--rank", "5", "--", "true")
	p.refused(t, ore.ExitFailed, []string{"run already: end them with 'ore down bed'"}, "up", "-q", "--name", "bed")

	p.refused(t, 255, []string{"only root may name another user"},
		"exec", "bed", "--rank", "0", "-u", "nobody", "--dir", "/", "--", "ore-rsh", "root@m1", "id")
	if o := p.must(t, "exec", "bed", "--rank", "0", "-u", "nobody", "--dir", "/", "--", "ore-rsh", "m1", "id -un"); o.out != "nobody\n" {
		t.Errorf("a user on another machine: %v", o)
	}

	published(t, p, port[1])

	p.file(t, "data/x", "payload")
	p.must(t, "cp", "data", "bed:/srv")
	p.must(t, "exec", "bed", "--", "sh", "-c", "echo $(cat /srv/data/x) on $(hostname) >/srv/answer")
	copiedBack(t, p)

	p.must(t, "exec", "bed", "--", "sh", "-c", "echo wrong >/srv/a1.txt; echo right >'/srv/a[1].txt'")
	p.must(t, "cp", "bed:/srv/a[1].txt", "literal/")
	if got := read(t, p.dir, "literal", "a[1].txt"); got != "right\n" {
		t.Errorf("cp of a name that is a pattern: %q", got)
	}

	p.must(t, "grow", "-q", "bed", "-n", "4")
	if got, want := sorted(p.must(t, "exec", "bed", "--", "hostname").out), []string{"0: m0", "1: m1", "2: m2", "3: m3"}; !slices.Equal(got, want) {
		t.Errorf("after grow: %q, want %q", got, want)
	}
	if o := p.must(t, "exec", "bed", "--", "sh", "-c", "grep -c 'm[0-3]$' /etc/hosts; cat /run/ore/hosts | wc -l; cat greeting"); o.out == "" ||
		strings.Count(o.out, ": 4\n") != 8 || strings.Count(o.out, "hello bed") != 4 {
		t.Errorf("hosts and inputs of old and new machines: %v", o)
	}
	p.refused(t, ore.ExitFailed, []string{"there are 4 machines already: say a larger number"}, "grow", "bed", "-n", "2")
	for _, pid := range p.machinePids(t, "m1") {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
	}
	p.await(t, "the loss of m1", func() bool {
		return strings.Contains(p.must(t, "jobs", "show", "bed").out, "lost: signal: killed: 'ore grow bed -n 4' starts it again")
	})
	p.refused(t, ore.ExitFailed, []string{"machine m1 is lost: signal: killed: 'ore grow bed -n 4' starts it again"}, "exec", "bed", "--rank", "1", "--", "true")
	p.must(t, "grow", "-q", "bed", "-n", "4")
	if o := p.must(t, "exec", "bed", "--rank", "1", "--", "hostname"); o.out != "m1\n" {
		t.Errorf("a machine in the place of a lost one: %v", o)
	}
	if o := p.must(t, "jobs", "show", "bed"); strings.Count(o.out, "machine  m") != 4 {
		t.Errorf("jobs show: %v", o)
	}
	p.refused(t, ore.ExitFailed, []string{"it runs: end it first ('ore down bed'"}, "jobs", "rm", "bed")

	p.must(t, "down", "bed")
	if _, err := net.Dial("tcp", port[1]); err == nil {
		t.Errorf("the port %s is still open", port[1])
	}
	p.refused(t, ore.ExitFailed, []string{"none kept under this name"}, "down", "bed")
	if _, err := os.Stat(filepath.Join(p.home, "run", "bed")); !os.IsNotExist(err) {
		t.Errorf("the folder of the job is still there: %v", err)
	}
}

// copiedBack copies from machines as cp(1) does.
func copiedBack(t *testing.T, p *person) {
	t.Helper()
	for _, to := range []string{"back", "back", "into/", "into", "a/b/c"} { // new, over it, into a new folder, into one that is there
		p.must(t, "cp", "--rank", "1", "bed:/srv/answer", to)
	}
	p.must(t, "cp", "--rank", "0-1", "bed:/srv/answer", "all")
	p.must(t, "cp", "bed:/srv/data", "folder")
	for _, file := range []string{"back", "into/answer", "a/b/c", "all/m1/answer"} {
		if got := read(t, p.dir, file); got != "payload on m1\n" {
			t.Errorf("cp to %s: %q", file, got)
		}
	}
	if got := read(t, p.dir, "folder/x"); got != "payload" {
		t.Errorf("cp of a folder: %q", got)
	}
	before, err := os.ReadDir(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"nothing", "nothing/", "nothing/at/all"} {
		p.refused(t, ore.ExitFailed, []string{"/srv/nosuch: there is no such file"}, "cp", "bed:/srv/nosuch", to)
	}
	if after, err := os.ReadDir(p.dir); err != nil || len(after) != len(before) {
		t.Errorf("cp of what is not there left %d files of %d, %v", len(after), len(before), err)
	}
}

// published serves something in machine 1 and fetches it over the host's port.
func published(t *testing.T, p *person, address string) {
	t.Helper()
	server := p.begin(t, "exec", "bed", "--rank", "1", "--", "perl", "-MIO::Socket::INET", "-e",
		`$|=1; my $l=IO::Socket::INET->new(LocalPort=>7000,Listen=>1) or die; print "listening\n"; my $c=$l->accept; print $c "from m1: ".<$c>; close $c`)
	server.saw(t, "listening")
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("ping\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(c).ReadString('\n'); err != nil || got != "from m1: ping\n" {
		t.Errorf("over the published port: %q, %v", got, err)
	}
	if o := server.end(t); o.code != 0 {
		t.Errorf("the server in the machine: %v", o)
	}
}

// What ore cp asks for is a name, whatever letters it has.
func TestLiteralNames(t *testing.T) {
	for _, name := range []string{"a[1].txt", `b\c`, "*", "?x", "plain", "[", "]"} {
		if ok, err := path.Match(literal(name), name); !ok || err != nil {
			t.Errorf("%q does not match itself: %v", name, err)
		}
	}
	for name, other := range map[string]string{"a[1].txt": "a1.txt", "*": "x", "?": "x"} {
		if ok, err := path.Match(literal(name), other); ok || err != nil {
			t.Errorf("%q matches %q: %v", name, other, err)
		}
	}
}

// A shell whose input is /dev/null, as under cron, does not take it for a person.
func TestIsTerminal(t *testing.T) {
	for path, want := range map[string]bool{os.DevNull: false, "/dev/ptmx": true, ".": false} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := isTerminal(f); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
		f.Close()
	}
	if _, got := isTerminal(strings.NewReader("")); got {
		t.Error("a reader is taken for a terminal")
	}
}

// Of two who start machines under one name at once, one has them and the other
// is told what to do.
func TestUpTwiceAtOnce(t *testing.T) {
	p := someone(t)
	first := p.begin(t, "up", "-q", "--name", "twice")
	second := p.ore(t, "up", "-q", "--name", "twice")
	t.Cleanup(func() { p.ore(t, "down", "twice") })
	loser := first.end(t)
	if loser.code == 0 {
		loser, second = second, loser
	}
	if second.code != 0 || loser.code != ore.ExitFailed || !strings.Contains(loser.err, "machines called twice run already: end them with 'ore down twice'") {
		t.Errorf("one: %v\nother: %v", second, loser)
	}
}

// A name is free at once for new machines when the supervisor of the old ones was
// killed.
func TestUpAfterTheSupervisorWasKilled(t *testing.T) {
	p := someone(t)
	p.must(t, "up", "-q", "--name", "again")
	t.Cleanup(func() { p.ore(t, "down", "again") })
	for range 5 {
		kill(t, p.anySupervisors()...)
		p.must(t, "up", "-q", "--name", "again")
	}
	if o := p.must(t, "exec", "again", "--", "hostname"); o.out != "m0\n" {
		t.Errorf("the machines of the last: %v", o)
	}
}

func TestUpThatFailsLeavesNothing(t *testing.T) {
	p := someone(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p.refused(t, ore.ExitFailed, []string{"publish " + l.Addr().String(), "in use by ", "choose another port"}, "up", "-q", "--name", "taken", "--publish", l.Addr().String()+":80")
	p.refused(t, ore.ExitFailed, []string{"there is none"}, "jobs", "show", "taken")
}
