package serve

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"ore"
	"ore/cache"
	"ore/cache/serve/wire"
	"ore/image"
)

var errNoUpload = errors.New("there is no such upload: it stood still for too long, or the server was started again: begin anew")

// upload is a blob that is being received.
type upload struct {
	id     string
	client Identity
	digest ore.Digest
	size   int64
	file   *os.File
	room   *cache.Reservation

	busy     sync.Mutex   // held by the one request that receives or commits
	received atomic.Int64 // bytes so far
	last     atomic.Int64 // Unix nanoseconds of the last byte
}

func (u *upload) touched() time.Time { return time.Unix(0, u.last.Load()) }

// drop removes what was received, and gives its room back.
func (u *upload) drop() error {
	u.room.Release()
	return u.discard()
}

// discard removes what was received.
func (u *upload) discard() error { return errors.Join(os.Remove(u.file.Name()), u.file.Close()) }

// reserved counts the unfinished uploads of a namespace.
func (s *Server) reserved(namespace string) (n int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uploads {
		if u.client.Namespace == namespace {
			n++
			bytes += u.size
		}
	}
	return n, bytes
}

// announce reserves room for a blob.
func (s *Server) announce(r *request) error {
	var a wire.Upload
	if err := r.decode(wire.MaxJSON, &a); err != nil {
		return err
	}
	if a.Digest.Hex() == "" || a.Size <= 0 || a.Size > maxBlob {
		return refuse(http.StatusBadRequest, "upload %q of %d bytes: a digest and 1 to %d bytes are needed", a.Digest, a.Size, int64(maxBlob))
	}
	if _, err := s.readableBlob(r.Context(), r.client, a.Digest); err == nil {
		return r.answer(wire.Session{Exists: true, Received: a.Size})
	}
	p, err := s.space(r.Context(), r.client.Namespace)
	if err != nil {
		return err
	}
	room, err := p.Reserve(r.Context(), a.Size, "layer "+a.Digest.Short())
	if err != nil {
		return err
	}
	u := &upload{id: newID(), client: r.client, digest: a.Digest, size: a.Size, room: room}
	u.last.Store(s.Now().UnixNano())
	if err := s.enter(u); err != nil {
		room.Release()
		return err
	}
	return r.answer(wire.Session{ID: u.id})
}

// enter makes the upload's file and lists it.
func (s *Server) enter(u *upload) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, x := range s.uploads {
		if x.client.Name == u.client.Name && x.client.Namespace == u.client.Namespace {
			n++
		}
	}
	if n >= maxUploads {
		return refuse(http.StatusTooManyRequests, "%s has %d unfinished uploads: finish or give up one of them first", u.client.Name, n)
	}
	f, err := os.OpenFile(filepath.Join(s.uploadDir(), u.id), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("begin upload: %w", err)
	}
	u.file = f
	s.uploads[u.id] = u
	return nil
}

// upload returns the client's own upload.
func (s *Server) upload(r *request) (*upload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uploads[r.PathValue("id")]
	if u == nil || u.client.Name != r.client.Name || u.client.Namespace != r.client.Namespace {
		return nil, errNoUpload
	}
	return u, nil
}

func (s *Server) session(r *request) error {
	u, err := s.upload(r)
	if err != nil {
		return err
	}
	return r.answer(wire.Session{ID: u.id, Received: u.received.Load()})
}

// claim returns the upload that r is about, for this request alone until release.
func (s *Server) claim(r *request) (u *upload, release func(), err error) {
	if u, err = s.upload(r); err != nil {
		return nil, nil, err
	}
	if !u.busy.TryLock() {
		return nil, nil, refuse(http.StatusConflict, "another request sends this upload: end it first")
	}
	return u, u.busy.Unlock, nil
}

// receive takes bytes in, in order. A client whose connection broke asks how far
// it came and goes on.
func (s *Server) receive(r *request) error {
	u, release, err := s.claim(r)
	if err != nil {
		return err
	}
	defer release()
	at, err := strconv.ParseInt(r.URL.Query().Get("offset"), 10, 64)
	if have := u.received.Load(); err != nil || at != have {
		return refuse(http.StatusConflict, "offset %q: %d bytes are here: go on from there", r.URL.Query().Get("offset"), have)
	}
	left := u.size - at
	if r.ContentLength > left {
		return refuse(http.StatusRequestEntityTooLarge, "%d bytes more are expected, not %d", left, r.ContentLength)
	}
	if err := s.take(r, u, left); err != nil {
		return err
	}
	return r.answer(wire.Session{ID: u.id, Received: u.received.Load()})
}

// take copies the body, as long as it moves on.
func (s *Server) take(r *request, u *upload, left int64) error {
	pace := http.NewResponseController(r.w)
	body := http.MaxBytesReader(r.w, r.Body, left)
	end := time.Now().Add(stall + time.Duration(left/leastRate)*time.Second)
	buf := make([]byte, copyBuffer)
	for {
		soon := time.Now().Add(stall)
		if end.Before(soon) {
			soon = end
		}
		_ = pace.SetReadDeadline(soon)
		n, err := body.Read(buf)
		if n > 0 {
			if _, werr := u.file.WriteAt(buf[:n], u.received.Load()); werr != nil {
				return fmt.Errorf("receive %s: %w", u.digest.Short(), werr)
			}
			u.received.Add(int64(n))
			u.last.Store(s.Now().UnixNano())
		}
		var large *http.MaxBytesError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &large):
			// Whoever sends more than announced is not to be trusted with the rest.
			s.remove(u)
			return errors.Join(u.drop(), err)
		case err != nil:
			return refuse(http.StatusBadRequest, "receive %s: %w", u.digest.Short(), err)
		}
	}
}

// remove takes an upload off the list.
func (s *Server) remove(u *upload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uploads, u.id)
}

// commit makes a blob of what was received, if it is what was announced.
func (s *Server) commit(r *request) error {
	u, release, err := s.claim(r)
	if err != nil {
		return err
	}
	defer release()
	if have := u.received.Load(); have != u.size {
		return refuse(http.StatusConflict, "%d of %d bytes are here: send the rest", have, u.size)
	}
	p, err := s.space(r.Context(), u.client.Namespace)
	if err != nil {
		return err
	}
	if _, err := u.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r.pace(u.size)
	err = p.PutStream(r.Context(), u.digest, u.file)
	if err != nil && !errors.Is(err, image.ErrRotten) {
		return err // the client may try again
	}
	s.remove(u)
	if err != nil {
		return errors.Join(err, u.drop())
	}
	// Its room stays reserved until an image has it, since only those count.
	s.loose(p, u)
	if err := u.discard(); err != nil {
		return err
	}
	return r.answer(wire.Session{Exists: true, Received: u.size})
}

func (s *Server) giveUp(r *request) error {
	u, release, err := s.claim(r)
	if err != nil {
		return err
	}
	defer release()
	s.remove(u)
	if err := u.drop(); err != nil {
		return err
	}
	return r.answer(struct{}{})
}
