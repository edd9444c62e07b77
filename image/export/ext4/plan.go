package ext4

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"ore/squashfs"
)

// Options are the settings of a file system.
type Options struct {
	Size  int64    // of the whole, in bytes; 0 means what the content takes, a quarter more, and 64 MiB
	ID    [16]byte // the UUID, and what the hashing of names in folders begins with
	Label string   // at most 16 bytes
}

// Numbers of inodes that the format reserves, and the first that is free.
const (
	rootInode    = 2
	journalInode = 8
	firstInode   = 11
)

// lostFound is where e2fsck puts what it finds without a name. It has blocks
// from the start, since none may be free when it is needed.
const (
	lostFound       = "lost+found"
	lostFoundBlocks = 4
)

// Layout is a file system whose every block has its place.
type Layout struct {
	geometry
	o       Options
	files   []*file // by number of inode from firstInode on; the root's is at the end
	root    *file
	journal *file
	next    uint32 // first free block, behind which all are free but the groups' own
}

// file is what one inode describes.
type file struct {
	Entry
	inode    uint32
	links    int
	blocks   uint32 // of content
	extents  []extent
	leaves   []uint32 // blocks that list the extents which the inode has no room for
	parent   *file    // of a folder
	children []child  // of a folder
}

type child struct {
	name string
	*file
}

// extent says that the file's n blocks from logical on stand at start.
type extent struct{ logical, start, n uint32 }

// Plan lays out a file system with the given entries: the root "." first,
// folders before what is in them, and the first name of a file before the
// others.
func Plan(entries []Entry, o Options) (*Layout, error) {
	if len(o.Label) > 16 {
		return nil, fmt.Errorf("ext4: label %q: longer than 16 bytes", o.Label)
	}
	l := &Layout{o: o}
	if err := l.number(entries); err != nil {
		return nil, fmt.Errorf("ext4: %w", err)
	}
	need := uint64(0)
	for _, f := range l.all() {
		need += uint64(f.blocks) + f.maxLeaves()
	}
	var err error
	if l.geometry, err = newGeometry(need, uint64(firstInode+len(l.files)), o.Size); err != nil {
		return nil, fmt.Errorf("ext4: %w", err)
	}
	l.place()
	return l, nil
}

// Size returns how many bytes the file system has.
func (l *Layout) Size() int64 { return int64(l.blocks) * blockSize }

// all returns the root and all other files.
func (l *Layout) all() []*file { return append([]*file{l.root}, l.files...) }

// number gives every file an inode and every name its place in a folder.
func (l *Layout) number(entries []Entry) error {
	if len(entries) == 0 || entries[0].Path != "." || !entries[0].Mode.IsDir() {
		return errors.New("the first entry is not the root folder")
	}
	l.root = &file{Entry: entries[0], inode: rootInode, links: 2}
	l.root.parent = l.root
	byPath := make(map[string]*file, len(entries))
	byPath["."] = l.root
	for _, e := range withLostFound(entries)[1:] {
		if err := l.enter(e, byPath); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	for _, f := range l.all() {
		if err := f.measure(); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

// withLostFound adds the folder lost+found where there is none.
func withLostFound(entries []Entry) []Entry {
	for _, e := range entries {
		if e.Path == lostFound {
			return entries
		}
	}
	add := Entry{Entry: squashfs.Entry{Path: lostFound, Mode: fs.ModeDir | 0o700, ModTime: entries[0].ModTime}}
	return append([]Entry{entries[0], add}, entries[1:]...)
}

// enter adds one name.
func (l *Layout) enter(e Entry, byPath map[string]*file) error {
	dir, name := path.Dir(e.Path), path.Base(e.Path)
	parent := byPath[dir]
	switch {
	case parent == nil || !parent.Mode.IsDir():
		return errors.New("its folder does not stand before it")
	case byPath[e.Path] != nil:
		return errors.New("twice")
	case len(name) > maxName:
		return fmt.Errorf("name of %d bytes: at most %d are allowed", len(name), maxName)
	}
	f := byPath[e.Hardlink]
	if e.Hardlink == "" {
		if err := e.check(); err != nil {
			return err
		}
		f = &file{Entry: e, inode: firstInode + uint32(len(l.files))}
		l.files = append(l.files, f)
	} else if f == nil || f.Mode.IsDir() {
		return fmt.Errorf("hard link to %s: no such file before it", e.Hardlink)
	}
	byPath[e.Path] = f
	f.links++
	if f.Mode.IsDir() {
		f.parent = parent
		f.links++
		parent.links++
	} else if f.links > maxLinks {
		return fmt.Errorf("more than %d names of one file", maxLinks)
	}
	parent.children = append(parent.children, child{strings.Clone(name), f})
	return nil
}

// measure finds how many blocks f's content takes.
func (f *file) measure() error {
	switch {
	case f.Mode.IsDir():
		n := uint32(1)
		used := 0
		for size := range f.records() {
			if used+size > blockSize {
				n, used = n+1, 0
			}
			used += size
		}
		f.blocks = n
		if f.Path == lostFound {
			f.blocks = max(n, lostFoundBlocks)
		}
	case f.Mode.IsRegular():
		f.blocks = uint32((f.Size + blockSize - 1) / blockSize)
	case f.Mode&fs.ModeSymlink != 0 && len(f.Link) > inlineLink:
		f.blocks = 1
	}
	return nil
}

// maxLeaves bounds how many blocks a file's list of extents can take, before
// it is known where the extents are: in the worst case half of each group is
// its own tables.
func (f *file) maxLeaves() uint64 {
	extents := uint64(f.blocks)/(groupBlocks/2) + 2
	if extents <= inodeExtents {
		return 0
	}
	return (extents + leafExtents - 1) / leafExtents
}

// place gives out the blocks: the journal, then the folders, which are so
// close to each other, then the content in the order of the entries.
func (l *Layout) place() {
	if l.journalBlocks > 0 {
		l.journal = &file{inode: journalInode, links: 1, blocks: l.journalBlocks}
		l.journal.Mode = 0o600
		l.journal.Size = int64(l.journalBlocks) * blockSize
		l.journal.ModTime = l.root.ModTime
		l.give(l.journal)
	}
	for _, f := range l.all() {
		if f.Mode.IsDir() {
			l.give(f)
		}
	}
	for _, f := range l.files {
		if !f.Mode.IsDir() {
			l.give(f)
		}
	}
}

// give gives f its blocks, in as few extents as the groups' tables allow.
func (l *Layout) give(f *file) {
	for at := uint32(0); at < f.blocks; {
		start, n := l.take(f.blocks - at)
		f.extents = append(f.extents, extent{at, start, n})
		at += n
	}
	if len(f.extents) > inodeExtents {
		for range (len(f.extents) + leafExtents - 1) / leafExtents {
			b, _ := l.take(1)
			f.leaves = append(f.leaves, b)
		}
	}
}

// take returns the next free blocks that stand together, at most n.
func (l *Layout) take(n uint32) (start, got uint32) {
	for {
		g := l.next / groupBlocks
		if g >= l.groups {
			panic("ext4: the geometry has room for all that was counted")
		}
		first := l.dataStart(g)
		l.next = max(l.next, first)
		if end := l.groupEnd(g); l.next < end {
			start, got = l.next, min(n, end-l.next)
			l.next += got
			return start, got
		}
		l.next = (g + 1) * groupBlocks
	}
}
