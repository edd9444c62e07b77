package boot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Entry is one file of a newc cpio archive.
type Entry struct {
	Path         string // relative, slash-separated
	Mode         uint32 // as in stat(2)
	Major, Minor uint32 // of a device
	Data         []byte // of a regular file, or a symbolic link's target
}

// The layout of newc (Documentation/driver-api/early-userspace/
// buffer-format.rst): a magic, 13 numbers of 8 hex digits, the name with a NUL
// and the data, these two padded to a multiple of 4.
const (
	cpioMagic   = "070701"
	cpioFields  = 13
	cpioHeader  = len(cpioMagic) + 8*cpioFields
	cpioTrailer = "TRAILER!!!"
	cpioAlign   = 4
	// maxCPIOName is the kernel's own limit (PATH_MAX, init/initramfs.c).
	maxCPIOName = 4096
	// maxCPIOData bounds one file of an initramfs that is read; the largest
	// that is written here are a few MiB.
	maxCPIOData = 1 << 30
)

// The fields of a header that are used here, by their place.
const (
	cpioIno, cpioMode, cpioNlink, cpioSize, cpioMajor, cpioMinor, cpioName = 0, 1, 4, 6, 9, 10, 11
)

// File modes as in stat(2), for entries.
const (
	modeFolder = 0o040755
	modeFile   = 0o100644
	modeExec   = 0o100755
	modeChar   = 0o020600
)

// WriteCPIO writes a newc archive that the kernel takes as an initramfs, or as
// a further part of one. All entries belong to root, and the bytes depend on
// the entries alone.
func WriteCPIO(w io.Writer, entries ...Entry) error {
	b := bufio.NewWriterSize(w, 1<<16)
	for i, e := range append(entries[:len(entries):len(entries)], Entry{Path: cpioTrailer}) {
		if e.Path == "" || len(e.Path) >= maxCPIOName || len(e.Data) > maxCPIOData {
			return fmt.Errorf("cpio %q: name or content does not fit the format", e.Path)
		}
		var f [cpioFields]uint32
		f[cpioIno], f[cpioMode], f[cpioNlink] = uint32(i+1), e.Mode, 1
		f[cpioSize], f[cpioName] = uint32(len(e.Data)), uint32(len(e.Path)+1)
		f[cpioMajor], f[cpioMinor] = e.Major, e.Minor
		b.WriteString(cpioMagic)
		for _, n := range f {
			fmt.Fprintf(b, "%08x", n)
		}
		b.WriteString(e.Path)
		b.Write(make([]byte, 1+pad(cpioHeader+len(e.Path)+1)))
		b.Write(e.Data)
		b.Write(make([]byte, pad(len(e.Data))))
	}
	return b.Flush()
}

// pad is how many bytes bring n to the next multiple of four.
func pad(n int) int { return -n & (cpioAlign - 1) }

// ReadCPIO reads a newc archive up to its trailer.
func ReadCPIO(r io.Reader) ([]Entry, error) {
	b := bufio.NewReader(r)
	var entries []Entry
	for {
		e, err := readEntry(b)
		if err != nil {
			return nil, fmt.Errorf("cpio: entry %d: %w", len(entries)+1, err)
		}
		if e.Path == cpioTrailer {
			return entries, nil
		}
		entries = append(entries, e)
	}
}

func readEntry(r *bufio.Reader) (Entry, error) {
	h := make([]byte, cpioHeader)
	if _, err := io.ReadFull(r, h); err != nil {
		return Entry{}, noEOF(err)
	}
	if string(h[:len(cpioMagic)]) != cpioMagic {
		return Entry{}, errors.New("not in the newc format")
	}
	var f [cpioFields]uint32
	for i := range f {
		at := len(cpioMagic) + 8*i
		n, err := strconv.ParseUint(string(h[at:at+8]), 16, 32)
		if err != nil {
			return Entry{}, errors.New("header: not a number")
		}
		f[i] = uint32(n)
	}
	if f[cpioName] == 0 || f[cpioName] > maxCPIOName || f[cpioSize] > maxCPIOData {
		return Entry{}, errors.New("name or content is too long")
	}
	name, err := readPadded(r, int(f[cpioName]), cpioHeader)
	if err != nil {
		return Entry{}, err
	}
	if name[len(name)-1] != 0 {
		return Entry{}, errors.New("name without end")
	}
	data, err := readPadded(r, int(f[cpioSize]), 0)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Path: string(name[:len(name)-1]), Mode: f[cpioMode], Major: f[cpioMajor], Minor: f[cpioMinor], Data: data}, nil
}

// readPadded reads n bytes and the padding behind them; before is what precedes
// them since the last multiple of four. It takes memory for what is there, not
// for what a header claims.
func readPadded(r io.Reader, n, before int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && len(b) < n {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		_, err = io.CopyN(io.Discard, r, int64(pad(before+n)))
	}
	return b, noEOF(err)
}

// noEOF turns the end of a file where more was expected into an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
