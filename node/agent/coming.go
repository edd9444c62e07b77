package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ore"
	"ore/chain"
	"ore/node/lazy"
)

// lookAgain is how often a read looks whether its blob is on its way again, or
// here: between two transfers, and while one that is over is verified as a whole.
const lookAgain = 50 * time.Millisecond

// errNotLazy is why a host shows no blobs that are still coming.
var errNotLazy = errors.New("this host cannot show what is still coming: it has no /dev/fuse, or refuses namespaces: machines have to wait for whole layers there")

// show makes blobs readable in the job's lazily filled folder, whether they are
// here or still to come, and says where.
func (a *Agent) show(j *job, all []ComingBlob) (map[ore.Digest]string, error) {
	j.making.Lock()
	defer j.making.Unlock()
	if j.over || j.sup == nil {
		return nil, fmt.Errorf("job %s: %w", j.id, ErrGone)
	}
	if j.lazy == nil {
		return nil, errNotLazy
	}
	paths := map[ore.Digest]string{}
	for _, b := range all {
		name, err := nameOf(b.Digest)
		if err != nil {
			return nil, err
		}
		if b.Size < 0 {
			return nil, fmt.Errorf("blob %s: %d bytes", b.Digest.Short(), b.Size)
		}
		if j.coming[b.Digest] == nil {
			c := &coming{blobs: a.blobs, digest: b.Digest, size: b.Size, reader: a.blobs.peer.Reader(name)}
			j.coming[b.Digest] = c
			j.lazy.Add(lazy.File{Name: b.Digest.Hex(), Size: b.Size, ReadAt: c.readAt})
		}
		j.coming[b.Digest].expect(true)
		paths[b.Digest] = filepath.Join(j.sup.Lazy, b.Digest.Hex())
	}
	return paths, nil
}

// touched returns what the job's machines have read of a blob that show showed.
func (j *job) touched(d ore.Digest) (lazy.Touched, error) {
	j.making.Lock()
	defer j.making.Unlock()
	if j.lazy == nil || j.over {
		return lazy.Touched{}, errNotLazy
	}
	t, ok := j.lazy.Touched(d.Hex())
	if !ok {
		return t, fmt.Errorf("blob %s: no machine reads it while it comes", d.Short())
	}
	return t, nil
}

// miss says that what is not here does not come any more, until it is shown again: who
// reads it hears so, instead of waiting. It is called for machines that can do without.
func (j *job) miss() {
	j.making.Lock()
	defer j.making.Unlock()
	for _, c := range j.coming {
		c.expect(false)
	}
}

// unshow ends the folder, after its readers have ended. It is called with making
// held.
func (j *job) unshow() error {
	if j.lazy == nil {
		return nil
	}
	err := j.lazy.Close()
	for _, c := range j.coming {
		c.close()
	}
	return err
}

// coming is a blob that machines read before it is in the store.
type coming struct {
	blobs  *blobs
	digest ore.Digest
	size   int64

	mu      sync.Mutex // guards what follows
	reader  *chain.Reader
	plain   *os.File // the store's, once that was asked for
	missing bool     // what is not here does not come
	closed  bool
}

// errMissing is what reads end with that would wait for ever.
var errMissing = errors.New("nobody sends the rest any more")

// readAt reads what has been verified, and waits for the rest: also if nobody
// sends it any more, since who ordered it ends the machine then, or says that it is
// missing.
func (c *coming) readAt(ctx context.Context, b []byte, offset int64) (int, error) {
	for {
		f, err := c.opened()
		if f == nil && err == nil {
			if n, err := c.reader.ReadAt(ctx, b, offset); err == nil {
				return n, nil
			}
			f, err = c.file() // it is not on its way, or not any more
		}
		if err != nil {
			return 0, err
		}
		if f != nil {
			n, err := f.ReadAt(b, offset)
			if errors.Is(err, io.EOF) && offset+int64(n) == c.size {
				err = nil
			}
			return n, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// opened returns the store's file if it has been asked for, nil if not. Most reads
// are of what comes, and ask for nothing by name.
func (c *coming) opened() (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, os.ErrClosed
	}
	return c.plain, nil
}

// file returns the store's file once it has one. What came is let go of then; it is
// read as long as the chain has it, or the job if it has read of it before, whether or
// not the store has it by then.
func (c *coming) file() (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, os.ErrClosed
	}
	if c.plain != nil {
		return c.plain, nil
	}
	path, err := c.blobs.store.Path(c.digest)
	if err != nil && c.missing {
		return nil, errMissing
	}
	if err != nil {
		return nil, nil // it is still coming
	}
	if c.plain, err = os.Open(path); err != nil {
		return nil, nil // it was removed just now, and comes again
	}
	c.reader.Close()
	return c.plain, nil
}

// expect says whether the rest still comes.
func (c *coming) expect(comes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missing = !comes
}

func (c *coming) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.reader.Close()
	if c.plain != nil {
		c.plain.Close()
	}
}
