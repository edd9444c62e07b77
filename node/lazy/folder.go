package lazy

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// maxWaiting is how many reads may wait at once for bytes that are to come. The
	// kernel starts no more while so many of its read-aheads are under way, and a
	// read of what is there must not stand behind them.
	maxWaiting = 256
	// forever is how long the kernel may believe what it was told of a file: nothing
	// of that changes.
	forever = 365 * 24 * time.Hour
	// endTime is how long the kernel may take to let go of the folder once its last
	// process is gone.
	endTime = 10 * time.Second
	// firstFile is the number of the first file's inode; the folder has 1.
	firstFile = 2
)

// File is one file of a folder.
type File struct {
	Name string
	Size int64
	// ReadAt fills b from an offset on, as far as the file goes, when its bytes are
	// there. It gives up only when ctx ends, or for a machine that can do without: any
	// other that was told that its disk is broken would call that the job's failure.
	// Other errors are the host's disk's.
	ReadAt func(ctx context.Context, b []byte, offset int64) (int, error)
}

// Folder is a mounted folder. Its methods may be called concurrently.
type Folder struct {
	fuse.RawFileSystem // answers all that is not answered below with ENOSYS
	server             *fuse.Server
	ctx                context.Context // ends with Close
	cancel             context.CancelFunc
	served             chan struct{}

	mu    sync.Mutex // guards files
	files []*file
}

// file is a File with what has been read of it.
type file struct {
	File
	mu      sync.Mutex // guards what follows
	touched Touched
	times   []time.Duration // of the first reads
}

// Serve serves the folder that was mounted with the device (see
// namespace.Options.Lazy), of which it takes possession. The folder is empty.
func Serve(device *os.File) (*Folder, error) {
	defer device.Close()
	fd, err := unix.FcntlInt(device.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("lazily filled folder: %w", err)
	}
	f := &Folder{RawFileSystem: fuse.NewDefaultRawFileSystem(), served: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.server, err = fuse.NewServer(f, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{
		MaxBackground: maxWaiting, DisableXAttrs: true, DisableReadDirPlus: true, Name: "ore",
		Logger: log.New(discard{}, "", 0),
	})
	if err != nil {
		f.cancel()
		return nil, fmt.Errorf("lazily filled folder: %w", err)
	}
	go func() {
		defer close(f.served)
		f.server.Serve()
	}()
	return f, nil
}

// discard is for what the library says of requests that it does not know.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// Add shows one more file. One of the same name stays as it is.
func (f *Folder) Add(n File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.ContainsFunc(f.files, func(o *file) bool { return o.Name == n.Name }) {
		f.files = append(f.files, &file{File: n})
	}
}

// Close ends the folder, all of whose processes must be gone. It waits until the
// kernel has let go of it.
func (f *Folder) Close() error {
	f.cancel()
	select {
	case <-f.served:
		return nil
	case <-time.After(endTime):
		return errors.New("lazily filled folder: somebody still has it open")
	}
}

// String names the file system.
func (f *Folder) String() string { return "ore" }

// find returns the file of an inode.
func (f *Folder) find(inode uint64) *file {
	f.mu.Lock()
	defer f.mu.Unlock()
	if inode < firstFile || inode >= firstFile+uint64(len(f.files)) {
		return nil
	}
	return f.files[inode-firstFile]
}

// named returns the file of a name, and its inode.
func (f *Folder) named(name string) (*file, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.files, func(o *file) bool { return o.Name == name })
	if i < 0 {
		return nil, 0
	}
	return f.files[i], firstFile + uint64(i)
}

// Lookup implements [fuse.RawFileSystem].
func (f *Folder) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	n, inode := f.named(name)
	if h.NodeId != fuse.FUSE_ROOT_ID || n == nil {
		return fuse.ENOENT // which is asked again the next time: the file may be added
	}
	out.NodeId = inode
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	n.describe(inode, &out.Attr)
	return fuse.OK
}

// GetAttr implements [fuse.RawFileSystem].
func (f *Folder) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(forever)
	if in.NodeId == fuse.FUSE_ROOT_ID {
		out.Attr = fuse.Attr{Ino: fuse.FUSE_ROOT_ID, Mode: syscall.S_IFDIR | 0o555, Nlink: 2}
		return fuse.OK
	}
	n := f.find(in.NodeId)
	if n == nil {
		return fuse.ENOENT
	}
	n.describe(in.NodeId, &out.Attr)
	return fuse.OK
}

func (n *file) describe(inode uint64, a *fuse.Attr) {
	*a = fuse.Attr{
		Ino: inode, Size: uint64(n.Size), Blocks: uint64(n.Size+511) / 512, Blksize: 4096, Mode: syscall.S_IFREG | 0o444, Nlink: 1,
		Owner: fuse.Owner{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())},
	}
}

// Open implements [fuse.RawFileSystem].
func (f *Folder) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f.find(in.NodeId) == nil {
		return fuse.ENOENT
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// Read implements [fuse.RawFileSystem].
func (f *Folder) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n := f.find(in.NodeId)
	if n == nil {
		return nil, fuse.ENOENT
	}
	begun := time.Now()
	ctx := newReading(f.ctx, cancel)
	defer ctx.end()
	k, err := n.ReadAt(ctx, buf, int64(in.Offset))
	if ctx.Err() != nil {
		return nil, fuse.EINTR
	}
	if err != nil {
		return nil, fuse.EIO
	}
	n.note(Range{int64(in.Offset), int64(k)}, time.Since(begun))
	return fuse.ReadResultData(buf[:k]), fuse.OK
}
