package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "play:up" {
		if err := playUp(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

// playUp makes a bed and stays, as the process that a test then kills.
func playUp(arg string) error {
	keep := strings.HasPrefix(arg, "keep-")
	fmt.Println("begun")
	b, err := Up(context.Background(), Config{Name: arg, Hosts: 3, Keep: keep})
	if err != nil {
		return err
	}
	fmt.Println("up", b.Name())
	return nil
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("hosts are made of namespaces: this needs root")
	}
}

// newName is a name that no other test run has.
func newName(kind string) string { return fmt.Sprintf("%s-%d-%d", kind, os.Getpid(), rand.IntN(1e6)) }

func up(t *testing.T, c Config) *Bed {
	t.Helper()
	needRoot(t)
	if c.Name == "" {
		c.Name = newName("t")
	}
	b, err := Up(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Down(); err != nil {
			t.Error(err)
		}
		checkGone(t, b.Name())
	})
	return b
}

// checkGone finds what a bed that went has left.
func checkGone(t *testing.T, name string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(spaces, space(name, "*"))); len(left) > 0 {
		t.Errorf("namespaces are left: %v", left)
	}
	if _, err := os.Stat(filepath.Join(root, name)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the bed's folder is left: %v", err)
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(b), "orebed."+name+".") {
		t.Errorf("mounts are left, or: %v", err)
	}
}

// said runs a command on a host and returns what it said.
func said(t *testing.T, b *Bed, host string, args ...string) string {
	t.Helper()
	out, err := b.Command(t.Context(), host, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v: %v: %s", host, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// How long a connection is tried: long where it must come to something on a busy
// computer, short where nothing can come of it.
const surely, hardly = "60", "2"

// reach says whether a TCP connection from one host to another's port is
// refused within so many seconds, which only a host that is there does.
func reach(t *testing.T, b *Bed, from, to, within string) bool {
	t.Helper()
	out, _ := b.Command(t.Context(), from, "timeout", within, "bash", "-c", "</dev/tcp/"+to+"/9").CombinedOutput()
	return strings.Contains(string(out), "refused")
}

func TestHosts(t *testing.T) {
	home := t.TempDir()
	if err := errors.Join(os.Chmod(home, 0o700), os.Chown(home, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	b := up(t, Config{Hosts: 2, Link: 100e6, Private: []string{"/var/tmp", home}})
	i, err := b.Info()
	if err != nil {
		t.Fatal(err)
	}
	if len(i.Hosts) != 3 || i.Hosts[0].Name != Head || i.Hosts[2].Name != "h2" || !i.Hosts[2].Up {
		t.Fatalf("hosts: %+v", i.Hosts)
	}
	for _, h := range i.Hosts {
		if got := said(t, b, h.Name, "hostname"); got != h.Name {
			t.Errorf("%s calls itself %q", h.Name, got)
		}
		if got := said(t, b, h.Name, "sh", "-c", "ls /proc | grep -c '^[0-9]'"); len(got) > 1 {
			t.Errorf("%s: %s processes: it sees others than its own", h.Name, got)
		}
		if left := said(t, b, h.Name, "sh", "-c", "ls /run/netns 2>/dev/null; grep -c netns /proc/mounts || :"); left != "0" {
			t.Errorf("%s holds names of network namespaces: %s", h.Name, left)
		}
	}
	if !reach(t, b, "h1", "h2", surely) || !reach(t, b, "h2", Head, surely) {
		t.Error("hosts do not reach each other by name")
	}
	before := sent(t, b, "h1")
	const datagram = 4000 // in fragments, with a header each
	said(t, b, "h1", "bash", "-c", fmt.Sprintf("printf %%0%dd 0 >/dev/udp/h2/9", datagram))
	if n := sent(t, b, "h1") - before; n < datagram || n > 3*datagram {
		t.Errorf("h1 sent %d bytes and counts %d", datagram, n)
	}
	said(t, b, "h1", "sh", "-c", "echo mine >/var/tmp/private; echo all >"+b.Folder()+"/shared; echo x >/dev/shm/x")
	if got := said(t, b, "h2", "sh", "-c", "ls /var/tmp /dev/shm; cat "+b.Folder()+"/shared"); got != "/dev/shm:\n\n/var/tmp:\nall" {
		t.Errorf("h2 sees of h1's files: %q", got)
	}
	if d := said(t, b, "h1", "stat", "-c", "%a", "/var/tmp"); d != "1777" {
		t.Errorf("mode of a private folder: %s", d)
	}
	if d := said(t, b, "h1", "stat", "-c", "%a %u:%g", home); d != "700 65534:65534" {
		t.Errorf("mode and owner of a private home: %s", d)
	}
}

func sent(t *testing.T, b *Bed, host string) int64 {
	t.Helper()
	n, err := b.Sent(host)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCommandEndsAsTheProgramDoes(t *testing.T) {
	b := up(t, Config{Hosts: 1})
	var exit *exec.ExitError
	if err := b.Command(t.Context(), "h1", "sh", "-c", "exit 7").Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exit code 7 came as %v", err)
	}
	if err := b.Set("COLOUR", "green"); err != nil {
		t.Fatal(err)
	}
	if got := said(t, b, "h1", "sh", "-c", "echo $COLOUR; pwd"); got != "green\n"+mustGetwd(t) {
		t.Errorf("variable and folder: %q", got)
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.CommandAs(t.Context(), nobody, "h1", "sh", "-c", "id -un; id -Gn").Output()
	if err != nil || string(out) != "nobody\nnogroup\n" {
		t.Errorf("as nobody: %q, %v", out, err)
	}
	for host, words := range map[string]string{"h9": "no host", "h1": ""} {
		if err := b.Command(t.Context(), host, "true").Run(); err == nil != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("on %s: %v", host, err)
		}
	}
	// The program goes with its command: its pipe closes.
	ctx, cancel := context.WithCancel(t.Context())
	cmd := b.Command(ctx, "h1", "sh", "-c", "echo ready; exec sleep 1000")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines := bufio.NewReader(r)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Error(err)
	}
	cmd.Wait()
}

func mustGetwd(t *testing.T) string {
	t.Helper()
	d, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCrashBootPartHeal(t *testing.T) {
	ctx := t.Context()
	b := up(t, Config{Hosts: 2})
	service := []string{"sh", "-c", "echo started >>" + b.Folder() + "/service; sleep 1000 >/dev/null 2>&1 &"}
	if err := b.AtBoot(ctx, "h1", service...); err != nil {
		t.Fatal(err)
	}
	job := b.Command(ctx, "h1", "sleep", "1000")
	if err := job.Start(); err != nil {
		t.Fatal(err)
	}
	if err := b.Crash("h1"); err != nil {
		t.Fatal(err)
	}
	if err := job.Wait(); err == nil {
		t.Error("what ran on the crashed host ended well")
	}
	if reach(t, b, "h2", "h1", hardly) {
		t.Log("the address of a host that is off still answers: its network outlives it")
	}
	if err := b.Command(ctx, "h1", "true").Run(); err == nil || !strings.Contains(err.Error(), "off") {
		t.Errorf("a command on a host that is off: %v", err)
	}
	if err := b.Boot(ctx, "h1"); err != nil {
		t.Fatal(err)
	}
	if err := b.Boot(ctx, "h1"); err == nil || !strings.Contains(err.Error(), "on already") {
		t.Errorf("a second boot: %v", err)
	}
	if !reach(t, b, "h2", "h1", surely) {
		t.Error("h1 is not reached after its boot")
	}
	if got, _ := os.ReadFile(filepath.Join(b.Folder(), "service")); string(got) != "started\nstarted\n" {
		t.Errorf("the service's log: %q", got)
	}
	if err := b.Part(ctx, "h1"); err != nil {
		t.Fatal(err)
	}
	if reach(t, b, "h2", "h1", hardly) {
		t.Error("h1 is reached without a cable")
	}
	if err := b.Heal(ctx, "h1"); err != nil {
		t.Fatal(err)
	}
	if !reach(t, b, "h2", "h1", surely) {
		t.Error("h1 is not reached with its cable in again")
	}
}

func TestTwoBedsDoNotMeet(t *testing.T) {
	a := up(t, Config{Hosts: 1, Join: true})
	b := up(t, Config{Hosts: 1})
	ia, _ := a.Info()
	ib, _ := b.Info()
	if ia.Subnet == ib.Subnet {
		t.Errorf("both have %v", ia.Subnet)
	}
	if reach(t, b, "h1", ia.Hosts[1].Address.String(), hardly) {
		t.Error("a host of one bed reaches the other bed")
	}
	if !reach(t, a, "h1", ia.Own.String(), surely) {
		t.Error("a host does not reach this host, which has joined")
	}
	if err := a.Down(); err != nil {
		t.Fatal(err)
	}
	checkGone(t, a.Name())
	if got := said(t, b, "h1", "hostname"); got != "h1" {
		t.Errorf("when the other bed is gone: %q", got)
	}
}

func TestRefusals(t *testing.T) {
	needRoot(t)
	for words, c := range map[string]Config{
		"name":           {Name: "../x", Hosts: 1},
		"hosts: use 1":   {Hosts: 0},
		"use 1 to":       {Hosts: MaxHosts + 1},
		"private folder": {Hosts: 1, Private: []string{"tmp"}},
		"no such folder": {Hosts: 1, Private: []string{"/no/such"}},
		"negative":       {Hosts: 1, Link: -1},
	} {
		if _, err := Up(t.Context(), c); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%+v: %v, want something of %q", c, err, words)
		}
	}
	b := up(t, Config{Hosts: 1})
	if _, err := Up(t.Context(), Config{Name: b.Name(), Hosts: 1}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second bed of the name: %v", err)
	}
	if _, err := Open(newName("none")); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a bed that is not there: %v", err)
	}
}

// This host's port is gone when its bed is: the next one may have the same.
func TestPortGoesWithItsBed(t *testing.T) {
	for range 3 {
		b := up(t, Config{Hosts: 1, Join: true})
		i, err := b.Info()
		if err != nil {
			t.Fatal(err)
		}
		own, err := net.InterfaceByName(ownPort(i.Subnet))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Down(); err != nil {
			t.Fatal(err)
		}
		if left, err := net.InterfaceByIndex(own.Index); err == nil {
			t.Errorf("%s is left", left.Name)
		}
	}
}

// TestDelayOrReason has a delay, or is told why not, and then nothing is left.
func TestDelayOrReason(t *testing.T) {
	needRoot(t)
	c := Config{Name: newName("t"), Hosts: 1, Link: 50e6, Delay: 20 * time.Millisecond}
	b, err := Up(t.Context(), c)
	if err != nil {
		if !strings.Contains(err.Error(), "sch_netem") {
			t.Error(err)
		}
		checkGone(t, c.Name)
		return
	}
	defer b.Down()
	begun := time.Now()
	if !reach(t, b, "h1", Head, surely) {
		t.Fatal("head is not reached")
	}
	if d := time.Since(begun); d < 2*c.Delay {
		t.Errorf("a round trip took %v, less than twice the delay", d)
	}
}

// killed starts this test as an owner of a bed, and kills it when it has said
// word, or somewhat later.
func killed(t *testing.T, name, word string, later time.Duration) {
	t.Helper()
	needRoot(t)
	cmd := exec.Command("/proc/self/exe", "play:up", name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), word) {
	}
	if later > 0 {
		// A deadline of a read, since the point is to be at any place in the middle.
		out.(*os.File).SetReadDeadline(time.Now().Add(later))
		for lines.Scan() {
		}
	}
	cmd.Process.Kill()
	// What it was just starting holds this pipe, and the owner's lock, up to its exec.
	out.(*os.File).SetReadDeadline(time.Time{})
	io.Copy(io.Discard, out)
	cmd.Wait()
}

func TestHostsDieWithTheirOwner(t *testing.T) {
	name := newName("own")
	killed(t, name, "up", 0)
	s, err := read(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range s.Hosts {
		waitEnd(t, h)
	}
	all, err := List()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Name == name {
			t.Error("the bed is still listed")
		}
	}
	checkGone(t, name)
}

// waitEnd waits for the end of a host that is dying.
func waitEnd(t *testing.T, h hostState) {
	t.Helper()
	fd, err := unix.PidfdOpen(h.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, _ := unix.Poll(poll, 60_000); n == 0 && h.alive() {
		t.Errorf("host %s lives on", h.Name)
	}
}

func TestKeptBedIsFoundAgain(t *testing.T) {
	name := newName("keep")
	killed(t, name, "up", 0)
	if _, err := List(); err != nil { // sweeps, but not this one
		t.Fatal(err)
	}
	b, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := said(t, b, "h3", "hostname"); got != "h3" {
		t.Errorf("h3 calls itself %q", got)
	}
	s, err := read(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Down(); err != nil {
		t.Error(err)
	}
	for _, h := range s.Hosts {
		if h.alive() {
			t.Errorf("host %s lives on", h.Name)
		}
	}
	checkGone(t, name)
}

func TestKilledInTheMiddle(t *testing.T) {
	for i := range 6 {
		name := newName("keep")
		killed(t, name, "begun", time.Duration(1+i*i*8)*time.Millisecond)
		ours, _ := filepath.Glob(filepath.Join(spaces, space(name, "*")))
		t.Logf("killed with %d of 5 namespaces there", len(ours))
		inside := processesIn(ours)
		if _, err := List(); err != nil {
			t.Fatal(err)
		}
		if b, err := Open(name); err == nil { // it was ready just in time
			if err := b.Down(); err != nil {
				t.Error(err)
			}
		}
		checkGone(t, name)
		for _, pid := range inside {
			if _, err := startOf(pid); err == nil {
				t.Errorf("process %d is left", pid)
			}
		}
	}
}

// processesIn returns the processes in some network namespaces.
func processesIn(files []string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, p := range all {
		st, err := os.Stat(p)
		if err != nil {
			continue
		}
		for _, f := range files {
			if o, err := os.Stat(f); err == nil && os.SameFile(o, st) {
				var pid int
				fmt.Sscanf(p, "/proc/%d/", &pid)
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
