package ethernet

import "sync"

// A queue holds up to queueFrames frames and queueBytes of buffers,
// whichever comes first. The bytes are a few times what a TCP window of a fast
// local connection needs, and with 16 frozen machines still only 32 MiB.
const (
	queueFrames = 1024
	queueBytes  = 2 << 20
)

// Queue is the bounded list of frames that wait for what cannot take them at
// once: a socket, or a link. All methods may be called by several goroutines.
type Queue struct {
	mu     sync.Mutex // guards the rest
	some   sync.Cond  // there are frames, or the queue is closed
	ring   []*Frame
	head   int
	count  int
	bytes  int
	closed bool
}

// NewQueue returns an empty queue.
func NewQueue() *Queue {
	q := &Queue{ring: make([]*Frame, queueFrames)}
	q.some.L = &q.mu
	return q
}

// Push adds f at the end, or reports false when there is no room for it.
func (q *Queue) Push(f *Frame) bool {
	q.mu.Lock()
	if q.closed || q.count == len(q.ring) || q.bytes+len(f.buf) > queueBytes {
		q.mu.Unlock()
		return false
	}
	q.ring[(q.head+q.count)%len(q.ring)] = f
	q.count++
	q.bytes += len(f.buf)
	first := q.count == 1
	q.mu.Unlock()
	if first {
		q.some.Signal()
	}
	return true
}

// Take moves frames from the front to dst, waiting for at least one. It returns
// 0 when the queue is closed.
func (q *Queue) Take(dst []*Frame) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.count == 0 && !q.closed {
		q.some.Wait()
	}
	if q.closed {
		return 0
	}
	n := min(len(dst), q.count)
	for i := range n {
		dst[i] = q.ring[q.head]
		q.ring[q.head] = nil
		q.bytes -= len(dst[i].buf)
		q.head = (q.head + 1) % len(q.ring)
	}
	q.count -= n
	return n
}

// Close releases what is in the queue and ends Take and Push.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for ; q.count > 0; q.count-- {
		q.ring[q.head].Release()
		q.ring[q.head] = nil
		q.head = (q.head + 1) % len(q.ring)
	}
	q.some.Broadcast()
}
