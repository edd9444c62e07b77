package fetch

import (
	"sync"
	"time"
)

// rounds is in how many parts a vigil waits. A program that did not run, on a host
// that is overloaded or was suspended, finds its timers at their end before it has
// read what came meanwhile: it then still has all parts but one.
const rounds = 4

// vigil calls a function once nothing has come for a time, in which what this side
// takes for itself does not count. What it has on its way would be lost by that: a
// part of what the link carried. Its methods may be called concurrently.
type vigil struct {
	part time.Duration
	call func()

	mu     sync.Mutex // guards what follows
	timer  *time.Timer
	since  time.Time     // when the timer was started, or before
	left   time.Duration // of the part, then
	passed int           // parts
	paused bool
	over   bool
}

// newVigil begins one.
func newVigil(wait time.Duration, call func()) *vigil {
	v := &vigil{part: wait / rounds, call: call}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.since, v.left = time.Now(), v.part
	v.timer = time.AfterFunc(v.part, v.pass)
	return v
}

// run starts the timer, with mu held.
func (v *vigil) run(left time.Duration) {
	v.since, v.left = time.Now(), left
	v.timer.Reset(max(0, left))
}

// pass is the end of a part. One that waited for mu while the timer was set anew is
// not the end of what it was set to.
func (v *vigil) pass() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over || v.paused || time.Since(v.since) < v.left {
		return
	}
	if v.passed++; v.passed < rounds {
		v.run(v.part)
		return
	}
	v.over = true
	v.call()
}

// begin has a paused one begin anew once it is resumed.
func (v *vigil) begin() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.passed, v.left = 0, v.part
}

// pause has it stand still, until resume.
func (v *vigil) pause() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.paused = true
	v.timer.Stop()
	v.left -= time.Since(v.since)
}

// resume has it go on where it was paused.
func (v *vigil) resume() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.paused = false; !v.over {
		v.run(v.left)
	}
}

// end ends it.
func (v *vigil) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = true
	v.timer.Stop()
}
