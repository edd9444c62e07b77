package node

import (
	"fmt"
	"sync"
)

// console keeps the beginning and the end of what a machine's console said: why a
// machine did not start is in the one, and why it died in the other.
type console struct {
	mu    sync.Mutex // guards what follows
	head  []byte     // the first limit bytes
	tail  []byte     // the last limit bytes of what came after them
	said  int64      // bytes in all
	limit int
}

func newConsole(limit int) *console { return &console{limit: limit} }

// Write never fails.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := min(len(p), c.limit-len(c.head))
	c.head, c.tail, c.said = append(c.head, p[:first]...), append(c.tail, p[first:]...), c.said+int64(len(p))
	if over := len(c.tail) - c.limit; over > 0 {
		c.tail = append(c.tail[:0], c.tail[over:]...)
	}
	return len(p), nil
}

// String returns all that is kept.
func (c *console) String() string { return string(c.since(0).Text) }

// Said is a part of what a machine's console said.
type Said struct {
	Text []byte
	Next int64 // where what comes later begins
}

// since returns what is kept of what was said from a byte on, with a word where
// something is not.
func (c *console) since(at int64) Said {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Said{Next: c.said}
	at = min(max(at, 0), c.said)
	if at < int64(len(c.head)) {
		s.Text, at = append(s.Text, c.head[at:]...), int64(len(c.head))
	}
	kept := c.said - int64(len(c.tail))
	if at < kept {
		s.Text, at = fmt.Appendf(s.Text, "\n[%d bytes are not kept]\n", kept-at), kept
	}
	s.Text = append(s.Text, c.tail[at-kept:]...)
	return s
}
