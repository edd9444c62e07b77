package capture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"ore"
	"ore/image"
)

// Stage is that of the events that Send tells.
const Stage = "capture"

const (
	// maxList bounds the list of layers that are wanted.
	maxList = 64 << 10
	// maxRefusal is how much of a refusal is shown.
	maxRefusal = 1 << 10
	// toldStep is how many bytes are told of at once.
	toldStep = 1 << 20
)

// Sender sends images.
type Sender struct {
	To    string       // the address
	HTTP  *http.Client // nil means http.DefaultClient
	Watch ore.Watcher
}

// ErrUnwanted is why an image is not to be sent.
var ErrUnwanted = errors.New("the image is not wanted")

// Wanted asks whether the image that is to be made will be taken: nil says so.
func (s Sender) Wanted(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.To, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := s.client().Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	why, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%w: %s: %s", ErrUnwanted, resp.Status, strings.TrimSpace(string(why)))
	}
	return err
}

func (s Sender) client() *http.Client {
	if s.HTTP == nil {
		return http.DefaultClient
	}
	return s.HTTP
}

// Send sends an image whose layers are in the store. When it returns, everything
// has arrived.
func (s Sender) Send(ctx context.Context, m image.Manifest, store *image.Store) error {
	err := s.send(ctx, m, store)
	if err != nil {
		return fmt.Errorf("send image %s: %w", m.Key.Short(), err)
	}
	return nil
}

func (s Sender) send(ctx context.Context, m image.Manifest, store *image.Store) error {
	wanted, err := s.manifest(ctx, m)
	if err != nil {
		return err
	}
	var total, done int64
	sizes := map[ore.Digest]int64{}
	for _, l := range m.Layers {
		sizes[l.Digest] = l.Size
	}
	for _, d := range wanted {
		if sizes[d] == 0 {
			return fmt.Errorf("layer %s is wanted, which the image has not", d.Short())
		}
		total += sizes[d]
	}
	s.Watch.Tell(ore.Event{Stage: Stage, Total: total, Text: fmt.Sprintf("%d layers", len(wanted))})
	for _, d := range wanted {
		path, err := store.Path(d)
		if err != nil {
			return err
		}
		if err := s.layer(ctx, d, path, func(n int64) {
			if done/toldStep != (done+n)/toldStep {
				s.Watch.Tell(ore.Event{Stage: Stage, Done: done + n, Total: total})
			}
			done += n
		}); err != nil {
			return fmt.Errorf("layer %s: %w", d.Short(), err)
		}
	}
	if len(wanted) > 0 { // else the first answer was the last
		if wanted, err = s.manifest(ctx, m); err != nil {
			return err
		}
	}
	if len(wanted) > 0 {
		return fmt.Errorf("layer %s is wanted again", wanted[0].Short())
	}
	s.Watch.Tell(ore.Event{Stage: Stage, Done: done, Total: total, Final: true})
	return nil
}

// manifest sends the manifest and returns which layers are wanted.
func (s Sender) manifest(ctx context.Context, m image.Manifest) ([]ore.Digest, error) {
	b := m.Encode()
	answer, err := s.put(ctx, s.To, int64(len(b)), bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var wanted []ore.Digest
	if err := json.Unmarshal(answer, &wanted); err != nil {
		return nil, fmt.Errorf("the answer: %w", err)
	}
	return wanted, nil
}

// layer sends a file and tells of its bytes.
func (s Sender) layer(ctx context.Context, d ore.Digest, path string, tell func(int64)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = s.put(ctx, s.To+"/sha256/"+d.Hex(), info.Size(), told{f, tell})
	return err
}

// told tells how much is read.
type told struct {
	io.Reader
	tell func(int64)
}

// Read implements io.Reader.
func (t told) Read(b []byte) (int, error) {
	n, err := t.Reader.Read(b)
	t.tell(int64(n))
	return n, err
}

func (s Sender) put(ctx context.Context, to string, size int64, body io.Reader) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, to, body)
	if err != nil {
		return nil, err
	}
	r.ContentLength = size
	resp, err := s.client().Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxList))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(answer[:min(len(answer), maxRefusal)])))
	}
	return answer, nil
}
