package install

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"ore"
	"ore/image"
	"ore/install/exact"
	"ore/install/sandbox"
)

// asWord makes this test's executable an ordinary user's process that builds.
const asWord = "build-as"

// The ordinary users that the test becomes. newuidmap asks for the name of the
// one with subordinate ids, so that one is made.
const (
	withSubIDs    = "ore-install-test-" // and the process's id: the tests may run twice on a host
	withoutSubIDs = 54322
)

// errand is what such a process is told.
type errand struct {
	Dir         string
	Tier        sandbox.Tier
	Environment ore.Environment
	First       ore.Environment // built before, to start from; without packages there is none
}

// noDebs is a fetcher for builds all of whose packages have been decoded.
type noDebs struct{}

func (noDebs) Fetch(_ context.Context, p ore.Package) (string, error) {
	return "", errors.New(p.String() + ": its pack should be there")
}

// runErrand builds and writes the manifest.
func runErrand(in io.Reader, out io.Writer) error {
	var e errand
	if err := json.NewDecoder(in).Decode(&e); err != nil {
		return err
	}
	store, err := image.OpenStore(filepath.Join(e.Dir, "store"))
	if err != nil {
		return err
	}
	b := &Builder{
		Dir: e.Dir, Store: store, Debs: noDebs{}, Tier: e.Tier, Args: []string{workerWord}, Options: testOptions,
		Watch: func(e ore.Event) { fmt.Fprintln(os.Stderr, e.Stage, e.Text) },
	}
	r := Request{Environment: e.Environment, Started: func(exact.Memory) { fmt.Fprintln(os.Stderr, "started from the first") }}
	if len(e.First.Packages) > 0 {
		first, err := b.Build(context.Background(), Request{Environment: e.First})
		if err != nil {
			return err
		}
		r.From = &first
	}
	m, err := b.Build(context.Background(), r)
	if err != nil {
		return err
	}
	if r.From != nil { // once more, with what was kept: trees of layers, steps
		again, err := b.Build(context.Background(), r)
		if err != nil {
			return err
		}
		if again.Digest() != m.Digest() {
			return fmt.Errorf("with what was kept the tree is %s, before %s", again.Tree, m.Tree)
		}
	}
	_, err = out.Write(m.Encode())
	return err
}

// buildAs builds as another user, with the packs of the builder's folder from.
func buildAs(t *testing.T, uid int, e errand, from string) image.Manifest {
	t.Helper()
	dir, err := os.MkdirTemp("", "ore-install-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self := filepath.Join(dir, "self")
	e.Dir = filepath.Join(dir, "build")
	sh(t, "cp", exePath(t), self)
	sh(t, "mkdir", e.Dir)
	sh(t, "cp", "-r", filepath.Join(from, "packs"), e.Dir)
	sh(t, "chown", "-R", fmt.Sprintf("%d:%d", uid, uid), dir)
	in, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, asWord)
	cmd.Dir, cmd.Stdin = "/", bytes.NewReader(in)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	if err := cmd.Run(); err != nil {
		t.Fatalf("build as %d in tier %s: %v\n%s", uid, e.Tier, err, said.String())
	}
	m, err := image.DecodeManifest(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(e.Dir, "work", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("tier %s left %v, %v", e.Tier, left, err)
	}
	return m
}

func exePath(t *testing.T) string {
	t.Helper()
	p, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func sh(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// subIDUser returns the uid of the user with subordinate ids.
func subIDUser(t *testing.T) int {
	t.Helper()
	name := withSubIDs + strconv.Itoa(os.Getpid())
	sh(t, "useradd", "--no-create-home", "--user-group", name)
	t.Cleanup(func() { sh(t, "userdel", name) })
	for _, f := range []string{"/etc/subuid", "/etc/subgid"} {
		b, err := os.ReadFile(f)
		if err != nil || !bytes.Contains(b, []byte(name+":")) {
			sh(t, "usermod", "--add-"+filepath.Base(f)+"s", "700000-765535", name)
		}
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	return uid
}

// One lock has one tree, whoever builds it: root, a user with subordinate ids,
// and a user with nothing. Even the layers are the same.
func TestOneTree(t *testing.T) {
	m := oneTree(t, "netcat-openbsd", "iputils-ping", "libcap2-bin")
	if len(m.Capabilities) != 1 || m.Capabilities[0].Path != "usr/bin/ping" {
		t.Errorf("capabilities %+v: ping's postinst sets one", m.Capabilities)
	}
}

func oneTree(t *testing.T, packages ...string) image.Manifest {
	if os.Getuid() != 0 {
		t.Skip("this test becomes several users: run it as root")
	}
	dir := testDir(t)
	env, a := lock(t, "bookworm", packages...)
	b := builder(t, dir, a)
	want, err := b.Build(t.Context(), Request{Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tier sandbox.Tier
		uid  int
	}{{sandbox.Root, 0}, {sandbox.SubIDs, subIDUser(t)}, {sandbox.Single, withoutSubIDs}} {
		t.Run(string(c.tier), func(t *testing.T) {
			got := buildAs(t, c.uid, errand{Tier: c.tier, Environment: env}, dir)
			if got.Tree != want.Tree {
				t.Errorf("tree %s, as root %s", got.Tree.Short(), want.Tree.Short())
			}
			if len(got.Capabilities) != len(want.Capabilities) {
				t.Errorf("capabilities %v, as root %v", got.Capabilities, want.Capabilities)
			}
			for i := range want.Layers {
				if got.Layers[i].Digest != want.Layers[i].Digest {
					t.Errorf("layer %d: %s, as root %s", i+1, got.Layers[i].Digest.Short(), want.Layers[i].Digest.Short())
				}
			}
		})
	}
	return want
}

// Whoever builds may start from another image, and from what steps did before:
// the tree is the same. One of the packages that come changes the numbers of
// those that stay, and a step makes what ordinary users cannot.
func startInTiers(t *testing.T, tiers ...sandbox.Tier) {
	if os.Getuid() != 0 {
		t.Skip("this test becomes several users: run it as root")
	}
	dir := testDir(t)
	first, _ := lock(t, "bookworm", "dbus", "iputils-ping", "less")
	env, a := lock(t, "bookworm", "dbus", "iputils-ping", "openssh-client")
	env.Steps = []ore.Step{
		{Name: "own", Run: "mkdir /opt/x; ln -s x /opt/link; mkfifo /opt/pipe; chown 7:8 /opt/x; chown -h 9:10 /opt/link /opt/pipe"},
		{Name: "see", Needs: []string{"own"}, Run: `test "$(stat -c %u:%g /opt/link /opt/x | xargs)" = "9:10 7:8"; cp -a /opt/link /opt/x/`},
	}
	b := builder(t, dir, a)
	for _, e := range []ore.Environment{first, env} {
		if _, err := b.Build(t.Context(), Request{Environment: e}); err != nil {
			t.Fatal(err)
		}
	}
	want, err := b.Build(t.Context(), Request{Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	uids := map[sandbox.Tier]int{sandbox.SubIDs: subIDUser(t), sandbox.Single: withoutSubIDs}
	for _, tier := range tiers {
		t.Run(string(tier), func(t *testing.T) {
			got := buildAs(t, uids[tier], errand{Tier: tier, Environment: env, First: first}, dir)
			if got.Tree != want.Tree || len(got.Capabilities) != len(want.Capabilities) {
				t.Errorf("tree %s, from nothing %s; capabilities %v", got.Tree.Short(), want.Tree.Short(), got.Capabilities)
			}
			if len(got.Layers) != 4 {
				t.Errorf("%d layers: it did not start from the first image", len(got.Layers))
			}
		})
	}
}

// A sample of it, in the tier in which least is as it seems; the system tests
// have them all.
func TestStartInTier(t *testing.T) { startInTiers(t, sandbox.Single) }

// A build whose process is killed leaves no process, and its folder goes when
// the next build begins.
func TestKilledBuild(t *testing.T) {
	env, a := lock(t, "bookworm", "netcat-openbsd")
	b := builder(t, testDir(t), a)
	want, err := b.Build(t.Context(), Request{Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	in, err := json.Marshal(errand{Dir: b.Dir, Tier: sandbox.Root, Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exePath(t), asWord)
	cmd.Stdin = bytes.NewReader(in)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The pipe ends when the last process that could write to it has ended.
	lines := bufio.NewReader(said)
	for line := ""; !strings.HasPrefix(line, "configure "); {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("the build ended by itself: %v", err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // killed
	pattern := filepath.Join(b.Dir, "work", "*")
	if left, err := filepath.Glob(pattern); err != nil || len(left) == 0 {
		t.Fatalf("the killed build's folder is not there: %v", err)
	}
	again, err := b.Build(t.Context(), Request{Environment: env})
	if err != nil || again.Digest() != want.Digest() {
		t.Errorf("the next build: %s, %v; want %s", again.Digest().Short(), err, want.Digest().Short())
	}
	if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
