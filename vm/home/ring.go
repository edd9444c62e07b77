package home

import "sync/atomic"

// ring is one direction of a stream: a writer and a reader that share nothing
// but memory. Each side keeps its own count beside the shared one, so that the
// other cannot change it.
type ring struct {
	data                                         []byte
	head, tail, readerWaits, writerWaits, closed *atomic.Uint64
	written, taken                               uint64 // ours; a side uses one of them
}

// newRing lays a ring over five words and data. A side that opens the memory
// anew goes on where it stopped.
func newRing(memory []byte, i int, data []byte) *ring {
	r := &ring{
		data: data,
		head: word(memory, i), tail: word(memory, i+1),
		readerWaits: word(memory, i+2), writerWaits: word(memory, i+3), closed: word(memory, i+4),
	}
	r.written, r.taken = r.head.Load(), r.tail.Load()
	return r
}

// write copies as much of b as fits. When nothing does it returns 0 with
// writerWaits set: the reader will ring once it has made room.
func (r *ring) write(b []byte) (int, error) {
	free, err := r.free()
	if err == nil && free == 0 {
		r.writerWaits.Store(1)
		free, err = r.free()
	}
	if err != nil {
		return 0, err
	}
	n := min(len(b), free)
	at := int(r.written % uint64(len(r.data)))
	k := copy(r.data[at:], b[:n])
	copy(r.data, b[k:n])
	r.written += uint64(n)
	r.head.Store(r.written)
	return n, nil
}

func (r *ring) free() (int, error) {
	held := r.written - r.tail.Load()
	if held > uint64(len(r.data)) {
		return 0, ErrBroken
	}
	return len(r.data) - int(held), nil
}

// read copies as much into b as there is. When there is nothing it returns 0,
// with readerWaits set unless the writer has closed the ring.
func (r *ring) read(b []byte) (n int, end bool, err error) {
	held, err := r.held()
	if err == nil && held == 0 {
		r.readerWaits.Store(1)
		// Looking at closed before held: what was written before it is seen.
		end = r.closed.Load() != 0
		held, err = r.held()
	}
	if err != nil {
		return 0, false, err
	}
	n = min(len(b), held)
	at := int(r.taken % uint64(len(r.data)))
	k := copy(b[:n], r.data[at:])
	copy(b[k:n], r.data)
	r.taken += uint64(n)
	r.tail.Store(r.taken)
	return n, end, nil
}

func (r *ring) held() (int, error) {
	held := r.head.Load() - r.taken
	if held > uint64(len(r.data)) {
		return 0, ErrBroken
	}
	return int(held), nil
}
