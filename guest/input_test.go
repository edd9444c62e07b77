package guest

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// A read that waits for input can be stopped, and nothing is lost by that.
func TestInputCanBeStopped(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	in, err := NewInput(r)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	read := func() (string, error) {
		b := make([]byte, 10)
		n, err := in.Read(b)
		return string(b[:n]), err
	}
	stopped := make(chan error)
	go func() { _, err := read(); stopped <- err }()
	if err := in.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-stopped; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("stopped by %v", err)
	}
	io.WriteString(w, "kept")
	if s, err := read(); s != "" || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %q, %v while stopped", s, err)
	}
	if err := in.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if s, err := read(); s != "kept" || err != nil {
		t.Errorf("read %q, %v", s, err)
	}
	w.Close()
	if _, err := read(); err != io.EOF {
		t.Errorf("the end: %v", err)
	}
}
