package flight

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"ore"
)

// TestOneWorksAndAllHear lets many wait for one work through two groups of one
// folder. The work ends when all who wait have heard of it.
func TestOneWorksAndAllHear(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	groups := []*Group{New(dir), New(dir)}
	const callers = 8
	var works, heard atomic.Int32
	var done atomic.Bool
	everybody := make(chan struct{})
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			once := sync.OnceFunc(func() {
				if heard.Add(1) == callers {
					close(everybody)
				}
			})
			err := groups[i%2].Do(ctx, "w", func(ore.Event) { once() },
				func(context.Context) (bool, error) { return done.Load(), nil },
				func(_ context.Context, tell ore.Watcher) error {
					works.Add(1)
					tell(ore.Event{Stage: "unpack", Text: "half"})
					<-everybody
					done.Store(true)
					return nil
				})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if works.Load() != 1 || heard.Load() != callers {
		t.Errorf("%d worked, %d heard", works.Load(), heard.Load())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestProgressIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p")
	p := &progress{path: path}
	if err := p.begin(); err != nil {
		t.Fatal(err)
	}
	text := string(make([]byte, 10_000))
	for range 300 {
		p.tell(ore.Event{Text: text})
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxProgress {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
	p.end()
}

// TestProgressOfAnotherBegins reads a file that is replaced by the next worker's.
func TestProgressOfAnotherBegins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p")
	var heard []string
	reader := &progress{path: path, watch: func(e ore.Event) { heard = append(heard, e.Text) }}
	defer reader.close()
	for _, text := range []string{"first", "second"} { // neither ends as it should: they are killed
		w := &progress{path: path}
		if err := w.begin(); err != nil {
			t.Fatal(err)
		}
		w.tell(ore.Event{Text: text})
		reader.look()
		w.tell(ore.Event{Text: text + " again"})
		w.writing.Close()
	}
	if err := os.WriteFile(path+".new", []byte("no event\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	reader.look()
	want := []string{"first", "first again", "second", "second again"}
	if len(heard) != len(want) {
		t.Fatalf("heard %q", heard)
	}
	for i := range want {
		if heard[i] != want[i] {
			t.Errorf("heard %q", heard)
		}
	}
}

func TestTry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Try(path); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
	// A lock on a file that was removed is none: whoever waits must not go by it.
	if err := errors.Join(os.Remove(path), f.Close()); err != nil {
		t.Fatal(err)
	}
	g, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := Wait(ctx, path, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
