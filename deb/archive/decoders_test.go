package archive

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// A decoder is used again once it is closed, not before, and whoever closed it
// reads nothing of the next file.
func TestDecoders(t *testing.T) {
	var d Decoders
	file := func(s string) io.Reader { return bytes.NewReader(compress(t, "xz", []byte(s))) }
	open := func(s string) io.ReadCloser {
		r, err := d.Decode("xz", file(s))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	read := func(r io.Reader, want string) {
		t.Helper()
		if b, err := io.ReadAll(r); err != nil || string(b) != want {
			t.Errorf("read %q, %v, want %q", b, err, want)
		}
	}
	a, b := open("first"), open("second")
	read(b, "second")
	read(a, "first")
	if err := errors.Join(a.Close(), a.Close()); err != nil || len(d.idle) != 1 {
		t.Errorf("%d idle decoders, %v", len(d.idle), err)
	}
	c := open("third")
	if len(d.idle) != 0 {
		t.Error("a closed decoder is not used again")
	}
	if n, err := a.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("a closed decoder gave %d bytes, %v", n, err)
	}
	read(c, "third")
	z, err := d.Decode("gz", bytes.NewReader(compress(t, "gz", []byte("gzip"))))
	if err != nil {
		t.Fatal(err)
	}
	read(z, "gzip")
	if err := errors.Join(b.Close(), c.Close(), z.Close()); err != nil || len(d.idle) != 2 {
		t.Errorf("%d idle decoders, %v", len(d.idle), err)
	}
}
