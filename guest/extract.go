package guest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Limits bounds what [Extract] takes in. The zero value of a number means the
// default.
type Limits struct {
	Bytes    int64    // of all files together; 0 is DefaultBytes
	Entries  int      // files, folders and links; 0 is DefaultEntries
	Reserved []string // names at the top that belong to somebody else and are refused
	AnyLinks bool     // let symbolic links point anywhere: inside a machine they do no harm
	Exact    bool     // give the stream's modes whatever the umask; else it takes bits away, as with tar(1)
}

// What one tar stream may bring unless somebody says more.
const (
	// DefaultBytes is far above what a result should be, and below what
	// fills a usual disk unnoticed.
	DefaultBytes = 64 << 30
	// DefaultEntries keeps a hostile machine from using up the inodes.
	DefaultEntries = 1 << 20
	// maxName is PATH_MAX: no longer name can be opened in one piece.
	maxName = 4096
	// maxRefusals is how many refused entries are named; a person does not
	// read more, and a hostile stream could hold any number.
	maxRefusals = 10
)

// Refusals lists entries of a tar stream that were left out, because taking
// them would have been unsafe.
type Refusals struct {
	Reasons []string // the first few, each `name: reason`
	Total   int
}

func (r *Refusals) Error() string {
	s := "refused " + strings.Join(r.Reasons, "; ")
	if more := r.Total - len(r.Reasons); more > 0 {
		s += fmt.Sprintf("; and %d more", more)
	}
	return s
}

// Extract unpacks the tar stream r into dir and returns the names of the
// regular files and links that it made, relative to dir. It is safe for a
// stream of bad will:
//
//   - nothing is made, read or changed outside of dir: no "..", no absolute
//     name, no way through a symbolic link, no link that leads out;
//   - hard links lead only to regular files of dir;
//   - devices, pipes and sockets, and the set-user and set-group bits, are not
//     taken; the owner is who extracts, and can always read and remove all;
//   - a file that exists is replaced, not written to;
//   - sizes and numbers are bounded by l.
//
// Unsafe entries are left out and reported together at the end by an error of
// type [*Refusals]; everything else is there then. Any other error means that
// the stream broke off or a limit was reached.
func Extract(dir *os.Root, r io.Reader, l Limits) ([]string, error) {
	if l.Bytes == 0 {
		l.Bytes = DefaultBytes
	}
	if l.Entries == 0 {
		l.Entries = DefaultEntries
	}
	x := &extraction{dir: dir, tar: tar.NewReader(r), limits: l, folders: map[string]bool{".": true}}
	for {
		h, err := x.tar.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = x.take(h)
		}
		if err != nil {
			return x.made, fmt.Errorf("extract: %w", err)
		}
	}
	// Reading on to the end of the stream, past tar's own end mark, lets the
	// sender finish.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return x.made, fmt.Errorf("extract: %w", err)
	}
	x.finishFolders()
	if x.refusals.Total > 0 {
		return x.made, &x.refusals
	}
	return x.made, nil
}

type extraction struct {
	dir      *os.Root
	tar      *tar.Reader
	limits   Limits
	made     []string
	entries  int
	bytes    int64
	folders  map[string]bool // known to be real folders, not links
	modes    []folderMode    // set at the end, so that a read-only folder can be filled
	refusals Refusals
}

type folderMode struct {
	name string
	mode fs.FileMode
	time time.Time
}

// refusal is an entry's fault, not the stream's.
type refusal string

func (r refusal) Error() string { return string(r) }

func (x *extraction) take(h *tar.Header) error {
	x.entries++
	if x.entries > x.limits.Entries {
		return fmt.Errorf("more than %d entries: the limit is reached", x.limits.Entries)
	}
	err := x.entry(h)
	var no refusal
	if errors.As(err, &no) {
		x.refusals.Total++
		if len(x.refusals.Reasons) < maxRefusals {
			x.refusals.Reasons = append(x.refusals.Reasons, fmt.Sprintf("%q: %s", short(h.Name), no))
		}
		return nil
	}
	return err
}

func short(name string) string { return name[:min(len(name), 200)] }

func (x *extraction) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if len(h.Name) > maxName || strings.ContainsRune(h.Name, 0) {
		return refusal("its name is too long or holds a zero byte")
	}
	name := path.Clean(h.Name)
	if !filepath.IsLocal(name) {
		return refusal("its name leads out of the folder")
	}
	if slices.Contains(x.limits.Reserved, name) {
		return refusal("this name is taken: call the file otherwise")
	}
	if err := x.parents(name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return x.folder(name, h)
	case tar.TypeReg, tar.TypeGNUSparse:
		return x.file(name, h)
	case tar.TypeSymlink:
		return x.symlink(name, h.Linkname)
	case tar.TypeLink:
		return x.hardlink(name, h.Linkname)
	}
	return refusal("it is neither file, folder nor link")
}

// parents makes the folders above name and sees to it that none is a link.
func (x *extraction) parents(name string) error {
	up := path.Dir(name)
	if x.folders[up] {
		return nil
	}
	if err := x.parents(up); err != nil {
		return err
	}
	return x.mkdir(up)
}

func (x *extraction) mkdir(name string) error {
	if x.folders[name] {
		return nil
	}
	mode := fs.FileMode(0o777)
	if x.limits.Exact {
		mode = 0o755
	}
	err := x.dir.Mkdir(name, mode)
	if errors.Is(err, fs.ErrExist) {
		fi, err := x.dir.Lstat(name)
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return refusal("a part of its path is not a folder")
		}
	} else if err != nil {
		return x.fault(err)
	}
	x.folders[name] = true
	return nil
}

// fault tells a name that the file system does not take from a file system
// that takes nothing more.
func (x *extraction) fault(err error) error {
	if isNameFault(err) {
		return refusal(err.Error())
	}
	return err
}

func (x *extraction) folder(name string, h *tar.Header) error {
	if name == "." {
		return nil
	}
	if err := x.mkdir(name); err != nil {
		return err
	}
	mode := h.FileInfo().Mode().Perm() | 0o700
	if !x.limits.Exact {
		made, err := x.dir.Lstat(name)
		if err != nil {
			return err
		}
		mode &= made.Mode().Perm() | 0o700 // what the umask left of 0777
	}
	x.modes = append(x.modes, folderMode{name, mode, sane(h.ModTime)})
	return nil
}

func (x *extraction) finishFolders() {
	for i := len(x.modes) - 1; i >= 0; i-- {
		// A folder that meanwhile is gone or another's is not worth an
		// error: what counts, the files, has been checked.
		m := x.modes[i]
		x.dir.Chmod(m.name, m.mode)
		x.dir.Chtimes(m.name, m.time, m.time)
	}
}

// vacate removes what is at name unless it is a folder.
func (x *extraction) vacate(name string) error {
	if name == "." || x.folders[name] {
		return refusal("a folder is in its place")
	}
	fi, err := x.dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return x.fault(err)
	}
	if fi.IsDir() {
		return refusal("a folder is in its place")
	}
	return x.dir.Remove(name)
}

func (x *extraction) file(name string, h *tar.Header) error {
	if h.Size < 0 || h.Size > x.limits.Bytes-x.bytes {
		return fmt.Errorf("%q: more than %d bytes: the limit is reached", short(name), x.limits.Bytes)
	}
	x.bytes += h.Size
	if err := x.vacate(name); err != nil {
		return err
	}
	mode := h.FileInfo().Mode().Perm() | 0o600
	f, err := x.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return x.fault(err)
	}
	err = copySparse(f, x.tar, h.Size)
	if err == nil && x.limits.Exact {
		err = f.Chmod(mode)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		x.dir.Remove(name) // half a file must not pass for a result
		return fmt.Errorf("%q: %w", short(name), err)
	}
	x.dir.Chtimes(name, time.Time{}, sane(h.ModTime))
	x.made = append(x.made, name)
	return nil
}

// hole is how many zero bytes in a row are left out of a file: a block of every
// usual file system.
const hole = 4096

// copySparse copies n bytes of r to the empty file f, which gets holes where r
// is zero: a machine's sparse file of many gigabytes is sparse here too.
func copySparse(f *os.File, r io.Reader, n int64) error {
	buf, zero := make([]byte, hole*16), make([]byte, hole)
	for at := int64(0); at < n; {
		k, err := io.ReadFull(r, buf[:min(int64(len(buf)), n-at)])
		if err != nil {
			return err
		}
		for from := 0; from < k; from += hole {
			part := buf[from:min(from+hole, k)]
			if bytes.Equal(part, zero[:len(part)]) {
				continue
			}
			if _, err := f.WriteAt(part, at+int64(from)); err != nil {
				return err
			}
		}
		at += int64(k)
	}
	return f.Truncate(n)
}

// sane returns t if a file system can hold it.
func sane(t time.Time) time.Time {
	if s := t.Unix(); s < 0 || s > math.MaxUint32 {
		return time.Unix(0, 0)
	}
	return t
}

func (x *extraction) symlink(name, target string) error {
	if !x.limits.AnyLinks && !staysInside(name, target) {
		return refusal(fmt.Sprintf("symbolic link to %q, outside of the folder", short(target)))
	}
	if target == "" || len(target) > maxName {
		return refusal("symbolic link to a name that is empty or too long")
	}
	if err := x.vacate(name); err != nil {
		return err
	}
	if err := x.dir.Symlink(target, name); err != nil {
		return x.fault(err)
	}
	x.made = append(x.made, name)
	return nil
}

// staysInside reports whether a symbolic link at name leads to a place in the
// folder. Only leading ".." are allowed: they go up from name's own folder,
// which is a real one, while after a name that is itself a link ".." would
// lead anywhere.
func staysInside(name, target string) bool {
	if path.IsAbs(target) {
		return false
	}
	depth := strings.Count(name, "/")
	down := false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			depth--
			if down || depth < 0 {
				return false
			}
		default:
			down = true
		}
	}
	return true
}

func (x *extraction) hardlink(name, target string) error {
	target = path.Clean(target)
	if !filepath.IsLocal(target) || len(target) > maxName {
		return refusal("hard link to a name outside of the folder")
	}
	if target == name {
		return refusal("hard link to itself")
	}
	// Only through real folders, and to no link: another name of a symbolic
	// link would lead from another place.
	for up := path.Dir(target); up != "."; up = path.Dir(up) {
		if !x.folders[up] {
			return refusal("hard link to a file that is not in the stream")
		}
	}
	fi, err := x.dir.Lstat(target)
	if err != nil || !fi.Mode().IsRegular() {
		return refusal("hard link to what is not a file of the stream")
	}
	if err := x.vacate(name); err != nil {
		return err
	}
	if err := x.dir.Link(target, name); err != nil {
		return x.fault(err)
	}
	x.made = append(x.made, name)
	return nil
}
