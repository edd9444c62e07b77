package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ore/namespace"
	"ore/node"
	"ore/site/ledger"
)

// TestMain lets the test binary be a supervisor, a keeper, and who starts them.
func TestMain(m *testing.M) {
	if err := namespace.Enter(); err != nil {
		os.Exit(1)
	}
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 4 && args[0] == Command:
		err = Keep(context.Background(), args[2], args[3])
	case len(args) == 3 && args[0] == Command:
		err = Serve(context.Background(), args[1], args[2])
	case len(args) == 4 && args[0] == "up":
		err = up(args[1], args[2], args[3] == "handed over")
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// up starts a supervisor to be kept, says so, and waits to be killed.
func up(images, run string, handOver bool) error {
	p, err := Start(context.Background(), Job{ID: "bed", Folder: filepath.Join(run, "bed"), Images: images, Keep: true})
	if err != nil {
		return err
	}
	if _, err := p.Machines(context.Background()); err != nil {
		return err
	}
	if handOver {
		if err := p.HandOver(); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// Of two who start machines of one name at once, the second is told what it is.
func TestTaken(t *testing.T) {
	dir := t.TempDir()
	if p, err := Start(t.Context(), Job{ID: "bed", Folder: dir, Keep: true}); !errors.Is(err, ErrTaken) {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the folder of the first: %v", err)
	}
}

// The name of machines whose supervisor was just killed is free once that has
// let go, and who asks waits for it.
func TestVacantWaitsForTheDying(t *testing.T) {
	b := ledger.Book{Records: t.TempDir(), Run: t.TempDir()}
	if err := Vacant(t.Context(), b, "bed"); err != nil {
		t.Errorf("of none: %v", err)
	}
	dir := b.Folder("bed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := ledger.Claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.MarkKept(dir); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", Socket(dir))
	if err != nil {
		t.Fatal(err)
	}
	vacant := make(chan error, 1)
	go func() { vacant <- Vacant(t.Context(), b, "bed") }()
	c, err := l.Accept() // it asks, and so has seen the lock
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []func() error{c.Close, l.Close, lock.Close} {
		if err := end(); err != nil {
			t.Error(err)
		}
	}
	if err := <-vacant; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder of the dead: %v", err)
	}
}

// Who starts kept machines and is killed on the way takes them along; after
// they were handed over they stay.
func TestKilledWhileItStarts(t *testing.T) {
	for _, how := range []string{"killed before", "handed over"} {
		b := ledger.Book{Records: t.TempDir(), Run: t.TempDir()}
		cmd := exec.Command("/proc/self/exe", "up", t.TempDir(), b.Run, how)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("it was not killed")
		}
		in.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if how == "handed over" {
			n := node.NewClient(Socket(b.Folder("bed")))
			if _, err := n.Machines(ctx); err != nil {
				t.Errorf("%s: %v", how, err)
			}
			if r, err := b.Bed("bed"); err != nil || b.State(r) != ledger.Running {
				t.Errorf("%s: %+v, %v", how, r, err)
			}
			if err := n.Release(ctx); err != nil {
				t.Error(err)
			}
			n.Close()
		}
		if err := b.Gone(ctx, "bed"); err != nil { // waits for the end
			t.Errorf("%s: %v", how, err)
		}
	}
}
