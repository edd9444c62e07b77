package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"ore"
	"ore/cache/serve/wire"
	"ore/image"
	"ore/image/chunk"
)

// readableBlob returns the file of a blob in a namespace that the client sees.
func (s *Server) readableBlob(ctx context.Context, i Identity, d ore.Digest) (string, error) {
	if d.Hex() == "" {
		return "", refuse(http.StatusBadRequest, "blob %q: not a digest", d)
	}
	spaces, err := s.readable(ctx, i)
	if err != nil {
		return "", err
	}
	for _, p := range spaces {
		path, err := p.Verified(ctx, d)
		if errors.Is(err, image.ErrRotten) {
			err = errors.Join(err, p.Lost(ctx, d))
		}
		if err == nil || !errors.Is(err, image.ErrMissing) {
			return path, err
		}
	}
	return "", fmt.Errorf("blob %s: %w", d.Short(), image.ErrMissing)
}

// openBlob opens a blob that the client sees. Once open it can be read to its
// end, even if it is evicted meanwhile.
func (s *Server) openBlob(ctx context.Context, i Identity, d ore.Digest) (*os.File, chunk.Blob, error) {
	path, err := s.readableBlob(ctx, i, d)
	if err != nil {
		return nil, chunk.Blob{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, chunk.Blob{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, chunk.Blob{}, errors.Join(err, f.Close())
	}
	return f, chunk.Blob{ReaderAt: f, Digest: d, Size: info.Size()}, nil
}

// blob sends a blob or ranges of it.
func (s *Server) blob(r *request) error {
	d, err := r.digest()
	if err != nil {
		return err
	}
	f, b, err := s.openBlob(r.Context(), r.client, d)
	if err != nil {
		return err
	}
	defer f.Close()
	h := r.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Etag", strconv.Quote(string(d)))
	h.Set("Cache-Control", "private, immutable")
	r.pace(b.Size)
	http.ServeContent(&wide{ResponseWriter: r.w, s: s}, r.Request, "", time.Time{}, f)
	return nil
}

// wide copies to a client in large pieces: under TLS the kernel cannot send a
// file by itself, so each piece is a read, an encryption and a write.
type wide struct {
	http.ResponseWriter
	s *Server
}

// ReadFrom implements io.ReaderFrom.
func (w *wide) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.CopyBuffer(onlyWriter{w.ResponseWriter}, onlyReader{r}, make([]byte, copyBuffer))
	w.s.served.Add(n)
	return n, err
}

// Unwrap lets http.ResponseController find what is below.
func (w *wide) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type onlyWriter struct{ io.Writer }
type onlyReader struct{ io.Reader }

// chunks sends a blob's chunk list.
func (s *Server) chunks(r *request) error {
	d, err := r.digest()
	if err != nil {
		return err
	}
	f, b, err := s.openBlob(r.Context(), r.client, d)
	if err != nil {
		return err
	}
	defer f.Close()
	l, err := s.derived.list(r.Context(), b)
	if err != nil {
		return err
	}
	r.w.Header().Set(wire.HeaderRoot, string(l.Root()))
	return r.send("application/octet-stream", l.Encode())
}

// patch sends what makes one blob from another that the client has.
func (s *Server) patch(r *request) error {
	var near wire.Near
	if err := r.decode(wire.MaxJSON, &near); err != nil {
		return err
	}
	if len(near.Have) > wire.MaxNear {
		return refuse(http.StatusBadRequest, "%d near blobs: at most %d are looked at", len(near.Have), wire.MaxNear)
	}
	f, target, err := s.openBlob(r.Context(), r.client, near.Target)
	if err != nil {
		return err
	}
	defer f.Close()
	// A patch takes a while to make the first time; the client's own deadline
	// says how long that may be.
	_ = http.NewResponseController(r.w).SetReadDeadline(time.Time{})
	open := func(d ore.Digest) (*os.File, chunk.Blob, error) { return s.openBlob(r.Context(), r.client, d) }
	from, old, err := s.nearest(r.Context(), target, near.Have, open)
	if err != nil {
		return err
	}
	if from == nil {
		r.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	defer from.Close()
	b, err := s.derived.patch(r.Context(), old, target)
	if errors.Is(err, chunk.ErrTooMuch) {
		r.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if err != nil {
		return err
	}
	if int64(len(b)) >= target.Size {
		r.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	s.served.Add(int64(len(b)))
	r.w.Header().Set(wire.HeaderFrom, string(old.Digest))
	return r.send("application/octet-stream", b)
}

// opener opens a blob that may be used.
type opener func(d ore.Digest) (*os.File, chunk.Blob, error)

// nearest opens the blob with which target has most in common, or nil if there
// is none with enough. Of those with nothing in common the one of the most
// similar size is taken.
func (s *Server) nearest(ctx context.Context, target chunk.Blob, have []ore.Digest, open opener) (*os.File, chunk.Blob, error) {
	want, err := s.derived.list(ctx, target)
	if err != nil {
		return nil, chunk.Blob{}, err
	}
	var best *os.File
	var old chunk.Blob
	var most int64
	for _, d := range have {
		if d == target.Digest {
			continue
		}
		f, b, err := open(d)
		if err != nil {
			continue // not here any more, or not the client's: the others may do
		}
		l, err := s.derived.list(ctx, b)
		shared := want.Shared(l)
		nearer := best == nil || shared > most || shared == most && apart(b.Size, target.Size) < apart(old.Size, target.Size)
		enough := target.Size <= smallBlob || float64(shared) >= leastShared*float64(target.Size)
		if err != nil || !nearer || !enough {
			f.Close()
			continue
		}
		if best != nil {
			best.Close()
		}
		best, old, most = f, b, shared
	}
	return best, old, nil
}

func apart(a, b int64) int64 { return max(a-b, b-a) }
