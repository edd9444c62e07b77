package process

import (
	"bytes"
	"io"
	"sync"
)

// TailSize is how much of a console's end is kept for error messages: a kernel
// panic with its call trace and what led to it is 4 to 8 KiB.
const TailSize = 16 << 10

// panicText is how a kernel says that it gives up (Linux, kernel/panic.c).
const panicText = "Kernel panic - not syncing"

// Tail passes a console on to a writer, which may be nil, and remembers its
// end. A writer that fails is left out from then on.
type Tail struct {
	panicked chan struct{} // closed when the console has said panicText

	mu   sync.Mutex // guards the fields below
	w    io.Writer
	buf  []byte
	gave bool // panicked is closed
}

// NewTail returns a Tail that passes on to w.
func NewTail(w io.Writer) *Tail { return &Tail{w: w, panicked: make(chan struct{})} }

// Write never fails.
func (t *Tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	w := t.w
	from := max(0, len(t.buf)-len(panicText)+1)
	t.buf = append(t.buf, b...)
	if !t.gave && bytes.Contains(t.buf[from:], []byte(panicText)) {
		t.gave = true
		close(t.panicked)
	}
	if n := len(t.buf); n > 2*TailSize {
		t.buf = append(t.buf[:0], t.buf[n-TailSize:]...)
	}
	t.mu.Unlock()
	if w != nil {
		if _, err := w.Write(b); err != nil {
			t.mu.Lock()
			t.w = nil
			t.mu.Unlock()
		}
	}
	return len(b), nil
}

// String returns the end of the console, at most TailSize bytes.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf[max(0, len(t.buf)-TailSize):])
}
