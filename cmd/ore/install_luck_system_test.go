//go:build system

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"ore"
	"ore/image"
	"ore/site/installing"
	"ore/testbed"
)

// One machine of three cannot install itself, wherever it begins anew: its rank is
// lost, and the others' run and come home.
func TestOneMachineFails(t *testing.T) {
	p := someone(t)
	p.file(t, "one.yaml", `machines: {root: disk, disk: 2G, memory: 512M, hypervisor: uml, count: 3}
environment:
  packages: [hello]
  steps:
    - {name: load, run: "if grep -q machine-m1 /proc/cmdline; then echo this disk is bad; exit 3; fi; echo fine >/opt/load"}
run:
  retries: 1
  outputs: [o*]
  script: hostname >out; cat /opt/load
`)
	dir := p.results(t)
	o := p.ore(t, "run", "-f", "one.yaml", "--install-from", "base", "--capture=false", "--results", dir)
	if o.code != ore.ExitFailed || strings.Count(o.out, "fine") != 2 || !strings.Contains(o.err, "machine m1 is lost: install: stage scripts: ") || !strings.Contains(o.err, "it begins anew, on a blank disk") {
		t.Errorf("%v", o)
	}
	var r struct {
		Ranks []struct {
			Kind, Error string
			Outputs     []string
		}
	}
	text := resultOf(t, dir)
	if err := json.Unmarshal([]byte(text), &r); err != nil || len(r.Ranks) != 3 {
		t.Fatalf("%s, %v", text, err)
	}
	for i, rank := range r.Ranks {
		home, err := os.ReadFile(filepath.Join(filepath.Dir(resultIn(t, dir)), string(rune('0'+i)), "out"))
		switch {
		case i == 1 && (rank.Kind != string(ore.Failed) || !strings.Contains(rank.Error, "step load") || !strings.Contains(rank.Error, "this disk is bad") || err == nil):
			t.Errorf("the rank that is lost: %+v, %v", rank, err)
		case i != 1 && (rank.Kind != string(ore.Finished) || rank.Error != "" || err != nil || !strings.HasPrefix(string(home), "m")):
			t.Errorf("rank %d: %+v, %q, %v", i, rank, home, err)
		}
	}
}

// So it is on other hosts: neither the machine beside it nor that of another host loses
// anything by it.
func TestOneMachineFailsOnHosts(t *testing.T) {
	p := someone(t)
	p.atHand(t, "hello")
	f := lend(t, p, 2)
	one := p.file(t, "one.yaml", `machines: {root: disk, disk: 2G, memory: 512M, hypervisor: uml, count: 3}
environment:
  packages: [hello]
  steps:
    - {name: load, run: "if grep -q machine-m1 /proc/cmdline; then echo this disk is bad; exit 3; fi; echo fine >/opt/load"}
run:
  retries: 1
  script: cat /opt/load
`)
	dir := p.results(t)
	o := finish(t, f.on(t.Context(), testbed.Head, append(append([]string{"run"}, f.flags...), "-f", one, "--install-from", "base", "--capture=false", "--results", dir)...))
	if o.code != ore.ExitFailed || strings.Count(o.out, "fine") != 2 || !strings.Contains(o.err, "machine m1 is lost: install: stage scripts: ") || !strings.Contains(o.err, "it begins anew, on a blank disk") {
		t.Errorf("%v", o)
	}
	var r ore.Result
	if err := json.Unmarshal([]byte(resultOf(t, dir)), &r); err != nil || len(r.Ranks) != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	for i, rank := range r.Ranks {
		if lost := i == 1; (rank.Kind == ore.Failed) != lost || (rank.Kind == ore.Finished) == lost || strings.Contains(rank.Error, "this disk is bad") != lost {
			t.Errorf("rank %d: %+v", i, rank)
		}
	}
}

// atHand has all here that machines take to install packages themselves: hosts of a test
// bed reach no mirror.
func (p *person) atHand(t *testing.T, packages string) image.Manifest {
	t.Helper()
	var needs []string
	for _, n := range installing.Needs() {
		needs = append(needs, n.Package)
	}
	p.build(t, "-p", strings.Join(needs, ","))
	p.must(t, "run", "-q", "--hypervisor", "uml", "--results", p.results(t), "--", "true") // the kernel, too
	return p.build(t, "-p", packages)
}

// resultIn finds the result of the one job in a folder, and resultOf reads it.
func resultIn(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*", "result.json"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q, %v", found, err)
	}
	return found[0]
}

func resultOf(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(resultIn(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The depot dies amidst the image: the machine makes its disk anew, of packages, and is
// what it was to be.
func TestDepotDies(t *testing.T) {
	p := someone(t)
	built := p.build(t, "-p", "hello")
	var left, packages atomic.Int64
	left.Store(built.Layers[0].Size / 3)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /blobs/sha256/{hex}", func(w http.ResponseWriter, r *http.Request) {
		if left.Load() <= 0 {
			panic(http.ErrAbortHandler)
		}
		http.ServeFile(dying{w, &left}, r, filepath.Join(p.home, "images", "blobs", "sha256", r.PathValue("hex")))
	})
	mux.HandleFunc("GET /packages/sha256/{hex}", func(w http.ResponseWriter, r *http.Request) {
		packages.Add(1)
		http.ServeFile(w, r, filepath.Join(p.home, "cache", "deb", "debs", path.Base(r.PathValue("hex"))+".deb"))
	})
	socket := filepath.Join(p.home, "depot")
	l, err := net.Listen("unix", socket)
	if err == nil {
		err = os.Chmod(socket, 0o666) // machines are the user's
	}
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	defer server.Close()
	dir := p.results(t)
	o := p.must(t, "run", "--root", "disk", "--disk", "2G", "-m", "512M", "--install-from", "image", "--install-depot", "unix:"+socket, "-p", "hello", "--hypervisor", "uml",
		"--results", dir, "--", "sh", "-c", "hello; dpkg --audit; dpkg --verify")
	if o.out != "Hello, world!\n" || int(packages.Load()) < len(built.Environment.Packages) {
		t.Errorf("%d packages were asked for: %v", packages.Load(), o)
	}
	if text := resultOf(t, dir); !strings.Contains(text, "none: packages in place of the image: pour image ") {
		t.Errorf("it does not say so: %s", text)
	}
}

// dying passes on as many bytes as are left.
type dying struct {
	http.ResponseWriter
	left *atomic.Int64
}

// Write ends the answer where nothing is left.
func (d dying) Write(b []byte) (int, error) {
	if d.left.Add(-int64(len(b))) < 0 {
		panic(http.ErrAbortHandler)
	}
	return d.ResponseWriter.Write(b)
}

// A disk that takes no more writes, as one whose host is full or that is broken, fails
// its machine, which says so, and hangs nowhere. What QEMU does then is seen in vmtest.
func TestDiskFailsWrites(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("file systems are mounted by root alone: run it as root")
	}
	p := someone(t)
	p.must(t, "build", "-q", "-p", "hello")
	dir := filepath.Join(p.home, "run")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	host(t, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("mode=700,size=60m,uid=%d,gid=%d", p.uid, p.gid), "tmpfs", dir)
	defer host(t, "umount", dir)
	o := p.patiently(t, "run", "-q", "--root", "disk", "--disk", "2G", "-m", "512M", "--install-from", "image", "-p", "hello", "--hypervisor", "uml",
		"--results", p.results(t), "--", "hello")
	if o.code != ore.ExitFailed || !strings.Contains(o.err, "the disk is broken or full: replace it") || !strings.Contains(o.err, "there is no room for its disk in ") {
		t.Errorf("%v", o)
	}
}

// host runs a program of this host.
func host(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
