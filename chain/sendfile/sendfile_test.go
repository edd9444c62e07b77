package sendfile_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"ore/chain/sendfile"
)

// hidden is a connection of which the kernel's descriptor is not to be had.
type hidden struct{ net.Conn }

func TestSend(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 200_000)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, hide := range []bool{false, true} {
		sent := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				sent <- err
				return
			}
			defer c.Close()
			if hide {
				c = hidden{c}
			}
			sent <- sendfile.Send(c, []byte("head"), sendfile.Piece{File: f, Offset: 3, Size: 1_500_000})
		}()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || string(got) != "head"+string(want[3:3+1_500_000]) {
			t.Errorf("hidden %v: %d bytes came, %v", hide, len(got), err)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		c.Close()
	}
}

// A file that became shorter is an error, and not a wait for ever.
func TestShort(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := sendfile.Send(c, nil, sendfile.Piece{File: f, Size: 100}); err == nil {
		t.Error("five bytes were sent as a hundred")
	}
}
