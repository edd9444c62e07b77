package lazy

import (
	"time"
)

// maxRanges bounds what is remembered of a file: who reads it all over has no
// first blocks.
const maxRanges = 1 << 14

// Range is a piece of a file.
type Range struct {
	Offset, Size int64
}

// Touched is what was read of a file, in order. What is read twice is there twice
// only if the kernel forgot it in between.
type Touched struct {
	Ranges []Range
	Bytes  int64
	Took   time.Duration // all reads together, with what they waited for
}

// Touched returns what has been read of a file until now.
func (f *Folder) Touched(name string) (Touched, bool) {
	n, _ := f.named(name)
	if n == nil {
		return Touched{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.touched
	t.Ranges = append([]Range(nil), t.Ranges...)
	return t, true
}

// note adds one read to what is known. Those that follow each other are one.
func (n *file) note(r Range, took time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := &n.touched
	t.Bytes += r.Size
	t.Took += took
	if i := len(t.Ranges) - 1; i >= 0 && t.Ranges[i].Offset+t.Ranges[i].Size == r.Offset {
		t.Ranges[i].Size += r.Size
		return
	}
	if len(t.Ranges) < maxRanges {
		t.Ranges = append(t.Ranges, r)
	}
}
