package chain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ore/chain/leisure"
	"ore/chain/set"
)

// Suffixes of what stands in a peer's folder beside whole blobs, which are
// called by their digest alone.
const (
	partSuffix = ".part"
	listSuffix = ".chunks"
)

// ErrWrongBytes is what errors match when a source gave bytes that are not the
// blob's. None of them was stored.
var ErrWrongBytes = errors.New("bytes do not match their sum")

// Traffic is when a hop's bytes went by. A relay's FirstOut precedes its LastIn.
type Traffic struct {
	FirstIn, LastIn   time.Time
	FirstOut, LastOut time.Time
	In, Out           int64 // bytes of chunks
}

// partial is a blob on its way to being whole. Chunks appear in it only when
// they are verified, and from then on they may leave. It may be used by any
// number of goroutines.
type partial struct {
	blob Blob
	path string // where the whole blob will stand; of a local one, where it stands

	opening chan struct{} // a semaphore: who holds it may open the file
	flows   *flows

	mu       sync.Mutex // guards all below
	seq      []int      // the order in which chunks are sent; replaced, never changed
	leading  set.Set    // those of them that others wait for most
	ahead    int        // how many of these are not here
	hurried  set.Set    // chunks that were asked for out of order
	hurries  int        // how many such requests are under way
	rushed   leisure.Rush
	readers  int // who reads the file, and keeps it open
	closed   bool
	list     List
	encoded  []byte
	file     *os.File // nil until the list is known
	have     set.Set
	count    int
	size     int64 // bytes that are held
	whole    bool
	broken   error // what makes it impossible to go on
	traffic  Traffic
	changed  chan struct{} // closed, and replaced, when anything above changes
	sessions int           // conductors that watch
	added    bool          // by Add: it stays
}

func newPartial(b Blob, path string) *partial {
	p := &partial{blob: b, path: path, opening: make(chan struct{}, 1), changed: make(chan struct{}), have: set.New(b.Chunks), hurried: set.New(b.Chunks)}
	p.flows = &flows{running: map[*flow]bool{}}
	p.arrange(b)
	return p
}

// arrange takes over in which order b has its chunks sent. Streams under way
// keep theirs.
func (p *partial) arrange(b Blob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq, p.leading = b.Sequence(), b.firsts()
	p.ahead = p.leading.Without(p.have).Count()
}

// tell wakes all who wait. It is called with mu held.
func (p *partial) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// open makes the file ready for the chunks of the list, and finds out what of
// it is there already, from an earlier life or put there by fill. Nothing but
// the sums is believed, so that a crash at any moment does no harm.
func (p *partial) open(ctx context.Context, encoded []byte, fill func(context.Context, Blob, List, *os.File) error) error {
	if sha256.Sum256(encoded) != p.blob.List {
		return fmt.Errorf("open blob %.12s: list: %w", p.blob.Digest, ErrWrongBytes)
	}
	list, err := DecodeList(encoded)
	if err != nil {
		return fmt.Errorf("open blob %.12s: %w", p.blob.Digest, err)
	}
	if len(list.Chunks) != p.blob.Chunks || list.Size() != p.blob.Size {
		return fmt.Errorf("open blob %.12s: %w: not of this blob", p.blob.Digest, ErrList)
	}
	f, err := p.openFile(encoded)
	if err != nil {
		return p.unable(ctx, err)
	}
	if fill != nil {
		if err := fill(ctx, p.blob, list, f); err != nil {
			f.Close()
			return p.unable(ctx, fmt.Errorf("fill from what is here: %w", err))
		}
	}
	have, size, err := held(ctx, f, list)
	if err != nil {
		f.Close()
		return p.unable(ctx, err)
	}
	p.mu.Lock()
	p.list, p.encoded, p.file, p.have, p.size = list, encoded, f, have, size
	p.count, p.ahead = have.Count(), p.leading.Without(have).Count()
	p.tell()
	p.mu.Unlock()
	return p.finish()
}

// unable notes why this host cannot have the blob, whoever sends it: to try again
// would not help, and whoever waits must be told.
func (p *partial) unable(ctx context.Context, cause error) error {
	err := fmt.Errorf("open blob %.12s: %w", p.blob.Digest, cause)
	if ctx.Err() == nil {
		p.fail(err)
	}
	return err
}

// openFile opens the blob's file, whole or not, and keeps the list beside it.
func (p *partial) openFile(encoded []byte) (*os.File, error) {
	if f, err := os.OpenFile(p.path, os.O_RDWR, 0); err == nil {
		return f, nil
	}
	name := p.path + listSuffix
	if err := os.WriteFile(name+".tmp", encoded, 0o600); err != nil {
		return nil, err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return nil, err
	}
	return os.OpenFile(p.path+partSuffix, os.O_RDWR|os.O_CREATE, 0o600)
}

// keptList returns the list that an earlier life kept, if it is the right one.
func (p *partial) keptList() []byte {
	b, err := os.ReadFile(p.path + listSuffix)
	if err != nil || sha256.Sum256(b) != p.blob.List {
		return nil
	}
	return b
}

// held returns which chunks stand in f. Holes hold none: they are not read.
func held(ctx context.Context, f *os.File, l List) (set.Set, int64, error) {
	have, buf, size := set.New(len(l.Chunks)), []byte(nil), int64(0)
	data := int64(0) // what is before has no data that was not looked at
	for i, c := range l.Chunks {
		if err := ctx.Err(); err != nil {
			return have, 0, err
		}
		if c.Offset+c.Size > data {
			at, err := unix.Seek(int(f.Fd()), max(c.Offset, data), unix.SEEK_DATA)
			if errors.Is(err, unix.ENXIO) {
				return have, size, nil // nothing but a hole up to the end
			}
			if err != nil {
				return have, 0, fmt.Errorf("look for data: %w", err)
			}
			data = at
		}
		if data >= c.Offset+c.Size {
			continue
		}
		buf = grow(buf, c.Size)
		if _, err := f.ReadAt(buf, c.Offset); errors.Is(err, io.EOF) {
			return have, size, nil
		} else if err != nil {
			return have, 0, err
		}
		if sha256.Sum256(buf) == c.Sum {
			have.Add(i)
			size += c.Size
		}
	}
	return have, size, nil
}

// grow returns a buffer of n bytes, b's memory where it is enough.
func grow(b []byte, n int64) []byte {
	if int64(cap(b)) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// put stores chunk i if b are its bytes, and says whether with it all chunks are
// here that were to come first.
func (p *partial) put(i int, b []byte) (ahead bool, err error) {
	c := p.list.Chunks[i]
	if int64(len(b)) != c.Size || sha256.Sum256(b) != c.Sum {
		return false, fmt.Errorf("chunk %d of blob %.12s: %w", i, p.blob.Digest, ErrWrongBytes)
	}
	p.mu.Lock()
	has := p.have.Has(i)
	p.mu.Unlock()
	if has {
		return false, nil // it came from two sources: the bytes are the same
	}
	if _, err := p.file.WriteAt(b, c.Offset); err != nil {
		err = fmt.Errorf("store chunk %d of blob %.12s: %w", i, p.blob.Digest, err)
		p.fail(err)
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.have.Has(i) {
		p.have.Add(i)
		p.count++
		p.size += c.Size
		if p.leading.Has(i) {
			p.ahead--
			ahead = p.ahead == 0
		}
	}
	now := time.Now()
	if p.traffic.In == 0 {
		p.traffic.FirstIn = now
	}
	p.traffic.LastIn = now
	p.traffic.In += c.Size
	p.tell()
	return ahead, nil
}

// fail notes what makes it impossible to go on: a full disk, say.
func (p *partial) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		p.broken = err
	}
	p.tell()
}

// finish gives the file its name once all chunks are there.
func (p *partial) finish() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.whole || p.file == nil || p.count < p.blob.Chunks {
		return nil
	}
	if _, err := os.Lstat(p.path); err != nil {
		if err := os.Rename(p.path+partSuffix, p.path); err != nil {
			return fmt.Errorf("finish blob %.12s: %w", p.blob.Digest, err)
		}
	}
	p.whole = true
	p.tell()
	return nil
}

// wait returns when ready says so, or the blob is broken, or ctx ends, or the
// channel says so. ready is called with mu held.
func (p *partial) wait(ctx context.Context, beat <-chan time.Time, ready func() bool) (bool, error) {
	for {
		p.mu.Lock()
		ok, broken, changed := ready(), p.broken, p.changed
		p.mu.Unlock()
		switch {
		case ok:
			return true, nil
		case broken != nil:
			return false, broken
		}
		select {
		case <-changed:
		case <-beat:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// left notes that n bytes went out.
func (p *partial) left(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.traffic.Out == 0 {
		p.traffic.FirstOut = now
	}
	p.traffic.LastOut = now
	p.traffic.Out += n
}

// close lets go of the file, which readers keep open. Nobody else may use p any
// more.
func (p *partial) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.file != nil && p.readers == 0 {
		p.file.Close()
	}
	p.broken = errors.Join(p.broken, errReleased)
	p.tell()
}

// errReleased is why a blob that was let go cannot be had.
var errReleased = errors.New("released")

// local makes a partial of a file that is whole.
func local(b Blob, l List, path string) (*partial, error) {
	if err := l.Check(); err != nil {
		return nil, fmt.Errorf("add blob %.12s: %w", b.Digest, err)
	}
	encoded := l.Encode()
	if sum := Digest(sha256.Sum256(encoded)); sum != b.List || l.Size() != b.Size || len(l.Chunks) != b.Chunks {
		return nil, fmt.Errorf("add blob %.12s: %w: not of this blob", b.Digest, ErrList)
	}
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("add blob %.12s: %w", b.Digest, err)
	}
	if st, err := f.Stat(); err != nil || st.Size() != b.Size {
		f.Close()
		return nil, fmt.Errorf("add blob %.12s: %s does not have its %d bytes", b.Digest, path, b.Size)
	}
	p := newPartial(b, path)
	p.list, p.encoded, p.file, p.have = l, bytes.Clone(encoded), f, set.Full(b.Chunks)
	p.count, p.size, p.whole, p.added = b.Chunks, b.Size, true, true
	return p, nil
}
