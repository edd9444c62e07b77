package pour

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"ore/install/plain"
)

// writer writes the merged tree.
type writer struct{ plain.Writer }

// frame makes all that has no content.
func (w writer) frame(t *merged) error {
	for _, n := range t.nodes {
		if n.Hardlink != "" {
			continue
		}
		if err := w.Frame(&n.Node); err != nil {
			return err
		}
	}
	return nil
}

// Regular files are written by plain system calls: the os package asks the kernel
// four times more of each file than is needed, and under User Mode Linux each
// question costs as much as writing a page.

// create makes a regular file; only the first call does.
func (w writer) create(n *node) error {
	n.once.Do(func() {
		n.out, n.err = unix.Open(w.Path(n.Path), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		n.open = n.err == nil
	})
	return n.err
}

// put writes a part of a file's content. Parts may come in any order, from
// several goroutines.
func (n *node) put(b []byte, at int64) error {
	if n.room != nil {
		_, err := n.room.W.WriteAt(b, n.room.At+at)
		return err
	}
	for len(b) > 0 {
		done, err := unix.Pwrite(n.out, b, at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b, at = b[done:], at+int64(done)
	}
	for end := n.end.Load(); at > end; end = n.end.Load() {
		if n.end.CompareAndSwap(end, at) {
			break
		}
	}
	return nil
}

// complete gives a file all else when its content is written. Zeros at its end
// are not.
func (w writer) complete(n *node) error {
	var err error
	if n.end.Load() != n.Size {
		err = unix.Ftruncate(n.out, n.Size)
	}
	if err == nil {
		err = w.OwnOpen(n.out, &n.Node)
	}
	return errors.Join(err, n.close())
}

func (n *node) close() error {
	if !n.open {
		return nil
	}
	n.open = false
	return unix.Close(n.out)
}

// abandon closes the files that an error left open.
func (w writer) abandon(files []*node) error {
	var err error
	for _, n := range files {
		err = errors.Join(err, n.close())
	}
	return err
}

// finish makes the further names of files, and gives folders what they should
// have, from the bottom up.
func (w writer) finish(t *merged) error {
	for _, n := range t.nodes {
		if n.Hardlink == "" {
			continue
		}
		if err := w.Link(&n.Node); err != nil {
			return err
		}
	}
	for _, n := range slices.Backward(t.nodes) {
		if !n.Mode.IsDir() {
			continue
		}
		if err := w.Own(&n.Node); err != nil {
			return err
		}
	}
	return nil
}
