package pour

import (
	"context"
	"errors"
	"fmt"
	"io"

	"ore"
	"ore/image"
	"ore/install/pour/blob"
	"ore/install/tree"
)

// Room is where the content of a file goes that is a range of something larger.
type Room struct {
	W    io.WriterAt
	At   int64                      // of the file's first byte
	Zero func(from, to int64) error // makes a part of W zero, whatever it has
}

// RangesOptions say which layer is poured, and where.
type RangesOptions struct {
	Layer  image.Layer
	From   []string // where it may be had, in the order of trying: see package blob
	Client blob.Client
	Watch  ore.Watcher // stage "pour": bytes of the layer
	// Place says where each file goes; it is asked for all of them before any is
	// written. What they get must not overlap.
	Place func(path string, size int64) (Room, error)
}

// Ranges writes the files of a layer, which has nothing but folders and files, to
// where they are placed. What a file has of zeros is made zero there. After an error
// a part of it is written, perhaps with wrong content: until the layer has come
// whole and is what its digest says, nobody may take it for anything.
func Ranges(ctx context.Context, o RangesOptions) error {
	meter := &meter{watch: o.Watch, total: o.Layer.Size}
	l, err := openLayer(ctx, &o.Client, blob.Blob{Digest: o.Layer.Digest, Size: o.Layer.Size, From: o.From}, meter)
	if err == nil {
		err = l.ranges(ctx, o)
	}
	if err != nil {
		return fmt.Errorf("pour layer %s: %w", o.Layer.Digest.Short(), err)
	}
	meter.end()
	return nil
}

// ranges places the files and writes them.
func (l *layer) ranges(ctx context.Context, o RangesOptions) error {
	var files []*node
	for e, err := range l.reader.Entries() {
		switch {
		case err != nil:
			return err
		case e.Mode.IsDir():
			continue
		case !e.Mode.IsRegular() || e.Hardlink != "":
			return fmt.Errorf("/%s is neither a folder nor a file", e.Path)
		}
		room, err := o.Place(e.Path, e.Size)
		if err != nil {
			return fmt.Errorf("/%s: %w", e.Path, err)
		}
		n := &node{Node: tree.Node{Entry: e}}
		n.room = &room
		files = append(files, n)
	}
	if len(files) == 0 {
		return errors.New("it has no files")
	}
	for _, n := range files {
		if err := l.zero(ctx, n); err != nil {
			return fmt.Errorf("zeros of /%s: %w", n.Path, err)
		}
	}
	return l.pour(ctx, ranges{}, files)
}

// zero makes zero what a file has of zeros: that has no block which could come.
func (l *layer) zero(ctx context.Context, n *node) error {
	f, err := l.reader.Open(n.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	size := l.blockSize()
	from := int64(-1) // of the run, -1 for none
	for at := int64(0); ; at += size {
		if at < n.Size && f.Stored(int(at/size)).Length == 0 {
			if from < 0 {
				from = at
			}
			continue
		}
		if from >= 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := n.room.Zero(n.room.At+from, n.room.At+min(at, n.Size)); err != nil {
				return err
			}
			from = -1
		}
		if at >= n.Size {
			return nil
		}
	}
}

// ranges is a target whose files are there.
type ranges struct{}

func (ranges) create(*node) error { return nil }

func (ranges) complete(*node) error { return nil }

func (ranges) abandon([]*node) error { return nil }

// target is where the files of a layer are made.
type target interface {
	create(n *node) error   // before a part of it is put; again before each further one
	complete(n *node) error // after all parts
	abandon(all []*node) error
}

var (
	_ target = ranges{}
	_ target = writer{}
)
