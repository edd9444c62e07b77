package cache

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/image"
)

// begin starts a child and waits until it is at work.
func begin(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "at work\n" {
		_ = cmd.Process.Kill()
		t.Fatalf("the other process says %q, %v; %v", line, err, cmd.Wait())
	}
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed, which is no success
}

// testKills kills a process that registers, folds, evicts and reserves, at
// random moments, and looks at what it leaves. One folder goes through all.
func testKills(t *testing.T, times int) {
	dir, ctx := t.TempDir(), context.Background()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	listed := 0
	for range times {
		cmd := child("churn", dir)
		begin(t, cmd)
		// How far the process gets is what is drawn here, and not waited for.
		time.AfterFunc(time.Duration(r.IntN(120_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		listed += whole(t, ctx, dir)
	}
	if listed == 0 {
		t.Error("no image was ever listed: nothing was tested")
	}
}

// whole opens what a killed process left, and returns how many images it lists.
func whole(t *testing.T, ctx context.Context, dir string) int {
	t.Helper()
	c, err := Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	report, err := c.VerifyAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range report.Bad() {
		t.Errorf("image %s is listed and yet: %v", bad.Entry.Key.Short(), bad.Err)
	}
	for _, folder := range []string{"partial", "quarantine"} {
		if left, err := os.ReadDir(filepath.Join(dir, folder)); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", folder, left, err)
		}
	}
	for _, checked := range report.Images {
		if _, err := c.Find(ctx, checked.Entry.Key); err != nil {
			t.Errorf("listed and not found: %v", err)
		}
	}
	if len(report.Images) > 0 {
		m, err := c.Manifest(report.Images[0].Entry.Manifest)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Candidates(ctx, m.Environment, 3); err != nil || len(got) == 0 || !got[0].Exact {
			t.Errorf("its candidates: %v, %v", got, err)
		}
	}
	space, err := c.Reserve(ctx, 1, "a look")
	if err != nil {
		t.Fatal(err)
	}
	space.Release()
	if left, err := os.ReadDir(filepath.Join(dir, "reserved")); err != nil || len(left) > 0 {
		t.Errorf("still reserved: %v, %v", left, err)
	}
	return len(report.Images)
}

// TestBuildIsTakenOverFromAKilledProcess waits for another process's build,
// hears of its progress, kills it, and builds.
func TestBuildIsTakenOverFromAKilledProcess(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	c := open(t, dir)
	cmd := child("builder", dir)
	begin(t, cmd)
	m := sample(c, 1)
	heard := ""
	got, err := c.Share(ctx, m.Key, func(e ore.Event) {
		if heard == "" {
			heard = e.Text
			kill(t, cmd)
		}
	}, func(ctx context.Context, tell ore.Watcher) (image.Manifest, error) {
		if heard == "" {
			t.Error("built before the other was dead")
		}
		_, err := c.Register(ctx, m, time.Second)
		return m, err
	})
	if err != nil || got.Key != m.Key || heard != "from the other process" {
		t.Errorf("got %v, %v; heard %q", got.Key, err, heard)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "locks", string(m.Key)+"*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestClientsOfManyProcesses lets two hundred clients in four processes ask for
// twenty environments of which half are known.
func TestClientsOfManyProcesses(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	built := filepath.Join(dir, "built")
	if err := os.Mkdir(built, 0o755); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < wishes; n += 2 {
		register(t, c, sample(c, n), time.Second)
	}
	var all []*exec.Cmd
	for range 4 {
		cmd := child("clients", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Errorf("a process of clients: %v", err)
		}
	}
	list, err := os.ReadDir(built)
	if err != nil {
		t.Fatal(err)
	}
	builds := map[string]int{}
	for _, e := range list {
		n, _, _ := strings.Cut(e.Name(), "-")
		builds[n]++
	}
	if len(builds) != wishes/2 || len(list) != wishes/2 {
		t.Errorf("%d builds of %d environments, not %d: %v", len(list), len(builds), wishes/2, builds)
	}
	entries, err := c.List(context.Background())
	uses := 0
	for _, e := range entries {
		uses += e.Uses
	}
	if err != nil || len(entries) != wishes || uses != 200 {
		t.Errorf("%d images with %d uses, %v", len(entries), uses, err)
	}
}
