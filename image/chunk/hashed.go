package chunk

import (
	"crypto/sha256"
	"io"

	"ore"
)

// A blob is read in pieces of readSize bytes, large enough that handing one over
// costs nothing against hashing it. There are readAhead of them, so that neither
// side waits for the other at each.
const (
	readSize  = 1 << 20
	readAhead = 3
)

// hashing reads a blob, all of which another goroutine hashes meanwhile: half of
// the work of cutting it. Both see the same bytes. end must be called.
type hashing struct {
	in   io.Reader
	free chan []byte // pieces that the other goroutine is done with
	full chan []byte // pieces for it
	sum  chan ore.Digest
	rest []byte // of the piece that was read last
	err  error  // of reading
}

// hashed begins to read in.
func hashed(in io.Reader) *hashing {
	h := &hashing{in: in, free: make(chan []byte, readAhead), full: make(chan []byte, readAhead), sum: make(chan ore.Digest, 1)}
	for range readAhead {
		h.free <- nil // memory is taken where it is needed
	}
	go func() {
		all := sha256.New()
		for b := range h.full {
			all.Write(b)
			h.free <- b
		}
		h.sum <- ore.NewDigest([sha256.Size]byte(all.Sum(nil)))
	}()
	return h
}

// Read reads what comes next. A piece is filled again once it was read and hashed.
func (h *hashing) Read(p []byte) (int, error) {
	if len(h.rest) == 0 {
		if h.err != nil {
			return 0, h.err
		}
		b := <-h.free
		if b == nil {
			b = make([]byte, readSize)
		}
		n, err := io.ReadFull(h.in, b[:cap(b)])
		if err == io.ErrUnexpectedEOF {
			err = io.EOF // the last piece is shorter
		}
		h.rest, h.err = b[:n], err
		h.full <- b[:n]
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, h.rest)
	h.rest = h.rest[n:]
	return n, nil
}

// end waits until all that was read is hashed, and returns its digest.
func (h *hashing) end() ore.Digest {
	close(h.full)
	return <-h.sum
}
