package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ore"
)

// File is a file to fetch.
type File struct {
	URLs   []string // where it may be, in the order of trying
	Path   string   // where it goes; the folder exists
	Size   int64
	Digest ore.Digest
}

// Part returns where the file grows until it is whole. What is in it may turn
// out to be wrong.
func (f File) Part() string { return f.Path + partSuffix }

// lockPoll is how often a part that somebody else works on is looked at.
const lockPoll = 50 * time.Millisecond

// partSuffix ends the names of unfinished files.
const partSuffix = ".part"

// All fetches files, several at once, and stops at the first that cannot be
// had. It calls progress, from many goroutines, with the bytes that each step
// brought; a file that is there already counts wholly.
func (c *Client) All(ctx context.Context, files []File, progress func(n int64)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(Parallel)
	for _, f := range files {
		g.Go(func() error { return c.File(ctx, f, progress) })
	}
	return g.Wait()
}

// File fetches f unless it is there with the right size.
func (c *Client) File(ctx context.Context, f File, progress func(n int64)) error {
	if progress == nil {
		progress = func(int64) {}
	}
	for {
		if f.there() {
			progress(f.Size)
			return nil
		}
		part, err := lockPart(ctx, f.Part())
		if err != nil {
			return err
		}
		if part == nil {
			continue // somebody finished it meanwhile
		}
		if f.there() { // and the part was made anew after that
			if err := errors.Join(os.Remove(part.Name()), part.Close()); err != nil {
				return err
			}
			continue
		}
		t := &transfer{client: c, file: f, part: part, progress: progress}
		err = t.run(ctx)
		if err != nil && t.have == 0 {
			err = errors.Join(err, os.Remove(part.Name())) // nothing to continue with
		}
		return errors.Join(err, part.Close())
	}
}

// there says whether the file is there, which only appears whole.
func (f File) there() bool {
	info, err := os.Stat(f.Path)
	return err == nil && info.Size() == f.Size
}

// lockPart opens and locks a part. It returns nil if the part was renamed away
// while waiting for the lock.
func lockPart(ctx context.Context, path string) (*os.File, error) {
	part, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(part.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), part.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), part.Close())
		case <-time.After(lockPoll):
		}
	}
	mine, err := part.Stat()
	if err != nil {
		return nil, errors.Join(err, part.Close())
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(mine, there) {
		return nil, part.Close()
	}
	return part, nil
}

// transfer is the work on one file, whose part is open and locked.
type transfer struct {
	client   *Client
	file     File
	part     *os.File
	progress func(int64)
	have     int64     // bytes in the part
	sum      hash.Hash // of them
	reported int64     // bytes told to progress
	resumed  bool      // some bytes of the part come from an earlier request
}

// run tries until the file is there or there is no sense in trying again.
func (t *transfer) run(ctx context.Context) error {
	urls := t.file.URLs
	if len(urls) == 0 {
		return fmt.Errorf("fetch %s: no address is known for it", filepath.Base(t.file.Path))
	}
	if err := t.rehash(); err != nil {
		return err
	}
	var last error
	most := t.have // that was ever there: tries are for what does not move
	for n := 1; n <= t.client.tries() && len(urls) > 0; n++ {
		url := urls[(n-1)%len(urls)]
		err := t.once(ctx, url)
		if err == nil {
			t.tried(url, nil)
			return os.Rename(t.part.Name(), t.file.Path)
		}
		last = err
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if busy(err) {
			if !t.client.pause(ctx, 1, err) {
				return ctx.Err()
			}
			n--
			continue
		}
		again, retry := t.judge(err)
		if again {
			n--
			continue
		}
		t.tried(url, err)
		if !retry {
			urls = without(urls, url)
			n--
			continue
		}
		if t.have >= most+stallBytes {
			most, n = t.have, 1
		}
		if len(urls) > 1 {
			err = nil // what a server asks for is not about another one
		}
		if n < t.client.tries() && !t.client.pause(ctx, n, err) {
			return ctx.Err()
		}
	}
	return last
}

// tried tells of an address that was asked.
func (t *transfer) tried(url string, err error) {
	if t.client.Tried != nil {
		t.client.Tried(url, err)
	}
}

// judge says what to do after err: again means at once and from the beginning,
// retry means after a pause, neither means never at this address.
func (t *transfer) judge(err error) (again, retry bool) {
	var content *ContentError
	if errors.As(err, &content) {
		was := t.resumed
		if t.restart() != nil {
			return false, false
		}
		return was, false
	}
	return false, Unreachable(err)
}

// without returns urls less url.
func without(urls []string, url string) []string {
	var rest []string
	for _, u := range urls {
		if u != url {
			rest = append(rest, u)
		}
	}
	return rest
}

// rehash reads what an earlier try has left.
func (t *transfer) rehash() error {
	t.sum = sha256.New()
	n, err := io.Copy(t.sum, t.part)
	if err != nil {
		return fmt.Errorf("read %s: %w", t.part.Name(), err)
	}
	if n > t.file.Size {
		return t.restart()
	}
	t.have, t.resumed = n, n > 0
	t.tell(n)
	return nil
}

// restart empties the part.
func (t *transfer) restart() error {
	t.tell(-t.have)
	t.have, t.resumed, t.sum = 0, false, sha256.New()
	if err := t.part.Truncate(0); err != nil {
		return err
	}
	_, err := t.part.Seek(0, io.SeekStart)
	return err
}

func (t *transfer) tell(n int64) {
	t.reported += n
	t.progress(n)
}

// once makes one request and checks what is there after it.
func (t *transfer) once(ctx context.Context, url string) error {
	if t.have < t.file.Size {
		if err := t.request(ctx, url); err != nil {
			return err
		}
	}
	if got := ore.NewDigest([sha256.Size]byte(t.sum.Sum(nil))); got != t.file.Digest {
		return &ContentError{URL: url, Want: t.file.Digest, Got: got, Size: t.file.Size, Have: t.have}
	}
	return nil
}

// request appends to the part what is missing.
func (t *transfer) request(ctx context.Context, url string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := newVigil(t.client.stall(), func() { cancel(errStalled) })
	defer watch.end()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", url, err)
	}
	preferWait(req, t.client.stall()/2)
	if t.have > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(t.have, 10)+"-")
	}
	resp, err := t.client.http().Do(req)
	if err != nil {
		return broken(ctx, url, err)
	}
	defer resp.Body.Close()
	watch.pause() // that this side is slow is not the server's fault
	switch {
	case resp.StatusCode == http.StatusPartialContent && continues(resp, t.have):
		t.resumed = true // by this server or another: if it ends wrong, that may be the other's doing
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusPartialContent,
		resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		if err := t.restart(); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return &TransferError{URL: url, Err: errors.New("the server does not continue where the file ended")}
		}
	default:
		return status(url, resp)
	}
	return t.copy(ctx, resp, watch)
}

// continues reports whether a partial answer begins at the byte have.
func continues(resp *http.Response, have int64) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have))
}

// copy takes the body in.
func (t *transfer) copy(ctx context.Context, resp *http.Response, watch *vigil) error {
	url := resp.Request.URL.String()
	buf := make([]byte, 128<<10) // large enough that system calls do not count
	var since int64
	for {
		watch.resume()
		n, err := resp.Body.Read(buf)
		watch.pause()
		if over := t.have + int64(n) - t.file.Size; over > 0 {
			return &ContentError{URL: url, Want: t.file.Digest, Size: t.file.Size, Have: t.have + int64(n)}
		}
		if n > 0 {
			if _, err := t.part.Write(buf[:n]); err != nil {
				return writeError(t.part.Name(), err)
			}
			t.sum.Write(buf[:n])
			t.have += int64(n)
			t.tell(int64(n))
			if since += int64(n); since >= stallBytes {
				since = 0
				watch.begin()
			}
		}
		switch {
		case errors.Is(err, io.EOF) && t.have < t.file.Size:
			return &TransferError{URL: url, Err: fmt.Errorf("it ended after %d of %d bytes", t.have, t.file.Size)}
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return broken(ctx, url, err)
		}
	}
}

// writeError says what to do about a full disk.
func writeError(path string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("write %s: %w: make room there, or keep the cache on another disk", path, err)
	}
	return fmt.Errorf("write %s: %w", path, err)
}
