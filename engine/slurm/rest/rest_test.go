package rest

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ore/testbed"
	"ore/testbed/slurm"
)

// TestMain is also the user's program on the bed: it runs as the user that
// slurmrestd runs as, in the same PID namespace, since that is how rest_auth/local
// knows its caller (unix(7), SO_PEERCRED).
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "play:user" {
		if err := play(context.Background(), os.Args[2]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play submits jobs and follows them.
func play(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	c, err := New("unix:"+socket, "", "")
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.State(ctx, "999999"); err == nil || !strings.Contains(err.Error(), "job 999999") {
		return fmt.Errorf("a job that is not there: %v", err)
	}
	if _, err := c.Submit(ctx, Job{Partition: "nosuch", Tasks: 1, Dir: "/", Script: "#!/bin/sh\ntrue\n"}); err == nil || !strings.Contains(err.Error(), "partition") {
		return fmt.Errorf("a partition that is not there: %v", err)
	}
	if all, err := c.Features(ctx); err != nil || fmt.Sprint(all) != "[fast ib]" {
		return fmt.Errorf("features %v: %w", all, err)
	}
	id, err := c.Submit(ctx, Job{
		Prefer: "ib",
		Name:   "ore-x", Comment: "ore job=x", Tasks: 8, CPUs: 1, Memory: 100, Minutes: 7, Dir: "/", Script: "#!/bin/sh\nsleep 1000\n",
	})
	if err != nil {
		return err
	}
	s, err := await(ctx, c, id, "RUNNING")
	if err != nil {
		return err
	}
	fmt.Println("running", id, s.Hosts)
	if err := c.Cancel(ctx, id); err != nil {
		return err
	}
	if _, err := await(ctx, c, id, "CANCELLED"); err != nil {
		return err
	}
	fmt.Println("cancelled")
	return nil
}

// await asks until the job is in a state.
func await(ctx context.Context, c *Client, id, want string) (State, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := c.State(ctx, id)
		if err != nil || s.State == want {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("job %s is %s, not %s", id, s.State, want)
		case <-tick.C:
		}
	}
}

func TestRealService(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("hosts are made of namespaces: this needs root")
	}
	if _, err := exec.LookPath("slurmrestd"); err != nil {
		t.Fatalf("%v: install Debian's slurmrestd", err)
	}
	ctx := t.Context()
	b, err := testbed.Up(ctx, testbed.Config{Name: fmt.Sprintf("rest-%d-%d", os.Getpid(), rand.IntN(1e6)), Hosts: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Down(); err != nil {
			t.Error(err)
		}
	}()
	s, err := slurm.Start(ctx, b, slurm.Config{Features: map[string]string{"h1": "fast,ib", "h2": "ib"}})
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	program, dir := filepath.Join(b.Folder(), "program"), filepath.Join(b.Folder(), "rest")
	own, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(program, own, 0o755)
	}
	if err == nil {
		err = os.Mkdir(dir, 0o755)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	if err == nil {
		err = os.Chown(dir, uid, -1)
	}
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	service := b.CommandAs(ctx, nobody, testbed.Head, "slurmrestd", "-f", filepath.Join(s.Folder(), "slurm.conf"),
		"-s", "openapi/"+version, "-a", "rest_auth/local", "unix:"+socket)
	said, err := service.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	drained := make(chan []byte, 1)
	go func() {
		text, _ := io.ReadAll(said)
		drained <- text
	}()
	defer func() {
		service.Process.Kill()
		text := <-drained
		service.Wait()
		if t.Failed() {
			t.Logf("slurmrestd: %s", text)
		}
	}()
	for ctx.Err() == nil { // until it listens, which is somewhat after the socket's file is there
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			break
		}
		select {
		case text := <-drained:
			drained <- text
			t.Fatal("slurmrestd ended")
		default:
		}
		again, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		<-again.Done()
		cancel()
	}
	out, err := b.CommandAs(ctx, nobody, testbed.Head, program, "play:user", socket).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "h[1-2]\ncancelled\n") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestAnswers(t *testing.T) {
	for text, words := range map[string]string{
		`{"errors":[{"error":"Invalid partition name specified","errno":2000}]}`: "Invalid partition",
		`not json`: "not understood", ``: "not understood",
	} {
		if _, err := parse(200, []byte(text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := parse(401, nil); err == nil || !strings.Contains(err.Error(), "scontrol token") {
		t.Errorf("401: %v", err)
	}
	if _, err := New("ftp://x", "", ""); err == nil {
		t.Error("an address that is none was taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(200, []byte(`{"job_id":4,"jobs":[{"job_state":"RUNNING"}]}`))
	f.Fuzz(func(t *testing.T, status int, b []byte) {
		if a, err := parse(status, b); err == nil && len(a.Errors) > 0 {
			t.Error("errors were not told")
		}
	})
}
