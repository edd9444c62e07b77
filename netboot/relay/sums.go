package relay

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"ore"
)

// brief is how long who asks for sums waits for them: those of a small blob come at
// once, and who waits for an answer need not doubt that the server lives.
const brief = time.Second

var (
	// errNotReady is a blob of which the sums are being made.
	errNotReady = errors.New("the sums of its chunks are being made")
	// errEnded is a blob that is asked about when the server ends.
	errEnded = errors.New("the server ends")
)

// sums are those of a blob's chunks, as soon as they are made.
type sums struct {
	done chan struct{} // closed when what follows is set
	sums []byte        // SHA-256 of each chunk, one behind the other
	size int64         // of the blob, in bytes
	err  error
}

// list returns the sums of a blob's chunks, and its size. They are made once, however
// long that takes and whoever still waits; until they are, the error is errNotReady.
func (b *Book) list(ctx context.Context, e *entry, d ore.Digest) ([]byte, int64, error) {
	b.mu.Lock()
	if e.sums == nil {
		e.sums = b.make(d)
	}
	s := e.sums
	b.mu.Unlock()
	wait := time.NewTimer(brief)
	defer wait.Stop()
	select {
	case <-s.done:
	case <-wait.C:
		return nil, 0, errNotReady
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	if s.err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		if e.sums == s {
			e.sums = nil // the next who asks has them made again
		}
	}
	return s.sums, s.size, s.err
}

// make begins to make a blob's sums, with mu held.
func (b *Book) make(d ore.Digest) *sums {
	s := &sums{done: make(chan struct{})}
	if b.closed {
		s.err = errEnded
		close(s.done)
		return s
	}
	if b.ctx == nil {
		b.ctx, b.cancel = context.WithCancel(context.Background())
	}
	ctx := b.ctx
	b.all.Go(func() {
		defer close(s.done)
		if s.sums, s.size, s.err = b.read(ctx, d); s.err != nil && ctx.Err() == nil && !errors.Is(s.err, fs.ErrNotExist) {
			b.Tell("", fmt.Sprintf("chunks of %s: %v: machines get it from here, each on its own", d.Short(), s.err))
		}
	})
	return s
}

// Close ends the making of sums, and waits for that. Who asks later is refused.
func (b *Book) Close() {
	b.mu.Lock()
	b.closed = true
	if b.cancel != nil {
		b.cancel()
	}
	b.mu.Unlock()
	b.all.Wait()
}

// read reads a blob and returns the sums of its chunks.
func (b *Book) read(ctx context.Context, d ore.Digest) ([]byte, int64, error) {
	f, err := b.Open(ctx, d)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close() // it was only read
	return sum(ctx, f, d)
}

// sum reads a blob and returns the sums of its chunks.
func sum(ctx context.Context, r io.Reader, d ore.Digest) (sums []byte, size int64, err error) {
	whole, room := sha256.New(), make([]byte, Chunk)
	sums = []byte{}
	for {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		n, err := io.ReadFull(r, room)
		if n > 0 {
			whole.Write(room[:n])
			one := sha256.Sum256(room[:n])
			sums, size = append(sums, one[:]...), size+int64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		if size >= maxBlob {
			return nil, 0, fmt.Errorf("it has more than %d bytes", int64(maxBlob))
		}
	}
	if got := ore.NewDigest([sha256.Size]byte(whole.Sum(nil))); got != d {
		return nil, 0, fmt.Errorf("its bytes have the digest %s: remove it and assign the machine again", got.Short())
	}
	return sums, size, nil
}
