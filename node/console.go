package node

import "sync"

// console keeps the end of what a machine's console said.
type console struct {
	mu    sync.Mutex // guards kept
	kept  []byte
	limit int
}

func newConsole(limit int) *console { return &console{limit: limit} }

// Write never fails.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = append(c.kept, p...)
	if over := len(c.kept) - c.limit; over > 0 {
		c.kept = append(c.kept[:0], c.kept[over:]...)
	}
	return len(p), nil
}

// String returns all that is kept.
func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.kept)
}
