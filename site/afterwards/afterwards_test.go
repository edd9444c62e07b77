package afterwards

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ore/cache"
	"ore/image"
)

// roleVariable makes this program the one that Start starts: its value is the
// folder of the cache and how often the host is idle before it is not any more.
const roleVariable = "ORE_TEST_AFTERWARDS"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" && len(os.Args) == 2 && os.Args[1] == Command {
		if err := child(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child works as the hidden subcommand does. It says in a pipe who it is when the
// host is idle no more, and stays then; and how many images it folded.
func child(role string) error {
	dir, times, _ := strings.Cut(role, " ")
	left, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	say, err := os.OpenFile(filepath.Join(dir, "pipe"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer say.Close()
	Yield()
	c, err := cache.Open(context.Background(), dir)
	if err != nil {
		return err
	}
	defer c.Close()
	n, err := Work(context.Background(), c, func() bool {
		if left--; left < 0 {
			fmt.Fprintln(say, os.Getpid())
			say.Close()
			select {}
		}
		return true
	}, nil)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(say, "folded", n)
	return err
}

// hear starts the work and returns what it says, when it has said all: then it
// stays for ever, or has closed the cache and touches nothing any more.
func hear(t *testing.T, dir string, idle int) string {
	t.Helper()
	environ := append(os.Environ(), fmt.Sprintf("%s=%s %d", roleVariable, dir, idle))
	if err := start(os.Args[0], environ); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.Open(filepath.Join(dir, "pipe")) // opens when the other end is opened
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	said, err := io.ReadAll(pipe)
	if err != nil || len(said) == 0 {
		t.Fatal("the process ended without a word: ", err)
	}
	return strings.TrimSpace(string(said))
}

// The work is done by a process of its own session and of the lowest priority.
// Killed in the middle, it leaves whole images, and the next one goes on.
func TestWorkSurvivesBeingKilled(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := cache.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := range 3 {
		register(t, c, n, image.MaxLayers)
	}
	// Two looks: one before the work, one before the first image.
	pid, err := strconv.Atoi(hear(t, dir, 2))
	if err != nil {
		t.Fatal(err)
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("its session is %d, not its own: %v", sid, err)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		tid, _ := strconv.Atoi(thread.Name())
		// The system call returns 20 less the value (getpriority(2)).
		if p, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err != nil || 20-p != lowest {
			t.Errorf("the priority of a thread is %d: %v", 20-p, err)
		}
	}
	if n, err := Work(t.Context(), c, func() bool { t.Error("two at once"); return false }, nil); n != 0 || err != nil {
		t.Errorf("a second one folded %d: %v", n, err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil { // until it has let go of all
		t.Fatal(err)
	}
	if full := fullOf(t, c); full != 2 {
		t.Errorf("killed after one of three, %d images are full", full)
	}
	if said := hear(t, dir, 100); said != "folded 2" {
		t.Errorf("the next one says %q", said)
	}
	if full := fullOf(t, c); full != 0 {
		t.Errorf("%d images are full still", full)
	}
}

// fullOf counts the full images, all of which are whole.
func fullOf(t *testing.T, c *cache.Cache) int {
	t.Helper()
	all, err := c.List(t.Context())
	if err != nil || len(all) != 3 {
		t.Fatalf("%d images: %v", len(all), err)
	}
	full := 0
	for _, e := range all {
		m, release, err := c.Acquire(t.Context(), e.Key)
		if err != nil {
			t.Fatal(err)
		}
		release()
		if Full(m) {
			full++
		}
	}
	return full
}

// The work waits for the host to be idle, stops when it is not any more, and goes
// on when it is again. It does not wait for ever.
func TestWorkWaitsForAnIdleHost(t *testing.T) {
	c, err := cache.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := range 3 {
		register(t, c, n, image.MaxLayers)
	}
	looks := 0
	w := worker{look: time.Millisecond, folder: folder{cache: c, idle: func() bool {
		looks++
		switch looks {
		case 1, 2, 5: // busy at first, and again after the first image
			if full, want := fullOf(t, c), 3; looks < 5 && full != want {
				t.Errorf("%d images are full while the host is busy", full)
			}
			return false
		}
		return true
	}}}
	last := 0
	w.last = func(context.Context) error {
		if last++; fullOf(t, c) != 0 {
			t.Error("what comes last came before all was folded")
		}
		return nil
	}
	if n, err := w.work(t.Context()); n != 3 || last != 1 || err != nil {
		t.Errorf("folded %d, and %d times what comes last: %v", n, last, err)
	}
	if looks < 7 {
		t.Errorf("it looked %d times", looks)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.idle = func() bool { cancel(); return false }
	if n, err := w.work(ctx); n != 0 || err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %d, %v", n, err)
	}
}
