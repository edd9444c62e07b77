package pour

import (
	"errors"
	"os"
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

// create makes a regular file; only the first call does.
func (w writer) create(n *node) error {
	n.once.Do(func() {
		n.out, n.err = os.OpenFile(w.Path(n.Path), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	})
	return n.err
}

// complete gives a file all else when its content is written. Zeros at its end
// are not.
func (w writer) complete(n *node) error {
	err := errors.Join(n.out.Truncate(n.Size), n.out.Close())
	n.out = nil
	if err != nil {
		return err
	}
	return w.Own(&n.Node)
}

// abandon closes the files that an error left open.
func (w writer) abandon(files []*node) error {
	var err error
	for _, n := range files {
		if n.out != nil {
			err = errors.Join(err, n.out.Close())
			n.out = nil
		}
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
