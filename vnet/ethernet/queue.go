package ethernet

import "sync"

// A socket's queue holds up to queueFrames frames and queueBytes of buffers,
// whichever comes first. The bytes are a few times what a TCP window of a fast
// local connection needs, and with 16 frozen machines still only 32 MiB.
const (
	queueFrames = 1024
	queueBytes  = 2 << 20
)

// queue is the bounded list of frames that wait for one socket.
type queue struct {
	mu     sync.Mutex // guards the rest
	some   sync.Cond  // there are frames, or the queue is closed
	ring   []*Frame
	head   int
	count  int
	bytes  int
	closed bool
}

func newQueue() *queue {
	q := &queue{ring: make([]*Frame, queueFrames)}
	q.some.L = &q.mu
	return q
}

// push adds f at the end, or reports false when there is no room for it.
func (q *queue) push(f *Frame) bool {
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

// take moves frames from the front to dst, waiting for at least one. It returns
// 0 when the queue is closed.
func (q *queue) take(dst []*Frame) int {
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

// close releases what is in the queue and ends take and push.
func (q *queue) close() {
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
