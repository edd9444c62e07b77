// Package flight lets one of many do a work that all of them want, whichever
// process they are in, while the others wait and hear how it goes.
//
// A work has a name. Whoever does it holds the flock(2) of a file of that name,
// and writes what it tells into a file beside it; both go when the work is over.
// If its process dies the kernel gives the lock back, and the next one does the
// work. Within a process the goroutines queue for the file, so that a hundred of
// them wait for one.
package flight

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"ore"
)

// Group is the works of one folder. The zero value is not usable; see New. Its
// methods may be called concurrently, also by other processes.
type Group struct {
	dir string

	mu  sync.Mutex // guards all
	all map[string]*queue
}

// queue is where the goroutines of this process wait for one work.
type queue struct {
	turn  chan struct{} // holds a value while somebody has the turn
	users int
}

// New returns the group of the folder dir, which exists.
func New(dir string) *Group { return &Group{dir: dir, all: map[string]*queue{}} }

func (g *Group) join(name string) *queue {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all[name] == nil {
		g.all[name] = &queue{turn: make(chan struct{}, 1)}
	}
	g.all[name].users++
	return g.all[name]
}

func (g *Group) leave(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all[name].users--; g.all[name].users == 0 {
		delete(g.all, name)
	}
}

// Work does the work. What it tells is passed on to all who wait.
type Work func(ctx context.Context, tell ore.Watcher) error

// Do calls work unless ready says that there is nothing to do, which is asked
// again after each wait. While somebody else does the work, watch is told what
// that one tells.
func (g *Group) Do(ctx context.Context, name string, watch ore.Watcher, ready func(context.Context) (bool, error), work Work) error {
	if done, err := ready(ctx); done || err != nil {
		return err
	}
	q := g.join(name)
	defer g.leave(name)
	path := filepath.Join(g.dir, name)
	p := &progress{path: path + ".progress", watch: watch}
	defer p.close()
	if err := p.wait(ctx, q.turn); err != nil {
		return err
	}
	defer func() { <-q.turn }()
	// Whoever had the turn before has most likely done it.
	if done, err := ready(ctx); done || err != nil {
		return err
	}
	held, err := Wait(ctx, path, p.look)
	if err != nil {
		return err
	}
	defer held.Close()
	defer os.Remove(path) // while the lock is held, see Try
	if done, err := ready(ctx); done || err != nil {
		return err
	}
	if err := p.begin(); err != nil {
		return err
	}
	defer p.end()
	return work(ctx, p.tell)
}
