package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"ore"
)

// ErrLarge is returned for a packed body that is larger than allowed once it is
// unpacked.
var ErrLarge = errors.New("larger than allowed")

// Pack returns v as compressed JSON (RFC 1952): lists of packages are mostly
// repetition, and over a slow link a question must not cost what its answer
// saves.
func Pack(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	err = z.Close()
	return out.Bytes(), err
}

// Unpack reads what Pack made, of at most limit bytes once it is unpacked.
func Unpack(b []byte, limit int64, to any) error {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, limit+1))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if int64(len(text)) > limit {
		return fmt.Errorf("unpack: %w: more than %d bytes", ErrLarge, limit)
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	return nil
}

// Shorten takes out of a candidate what the client can find out itself: what it
// lacks is named by its place in the wanted environment, and what it has too
// much without digests, which its manifest has.
func (c *Candidate) Shorten(env ore.Environment) {
	places := make(map[ore.Package]int, len(env.Packages))
	for i, p := range env.Packages {
		places[p] = i
	}
	c.Lacks = make([]int, len(c.Missing))
	for i, p := range c.Missing {
		c.Lacks[i] = places[p]
	}
	c.Missing = nil
	for i := range c.Extra {
		c.Extra[i].Digest = ""
	}
}

// Complete fills in again what Shorten took out, but for the digests. It returns
// false if the candidate is not one for env.
func (c *Candidate) Complete(env ore.Environment) bool {
	c.Missing = make([]ore.Package, len(c.Lacks))
	for i, place := range c.Lacks {
		if place < 0 || place >= len(env.Packages) {
			return false
		}
		c.Missing[i] = env.Packages[place]
	}
	return true
}
