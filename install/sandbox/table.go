package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// table holds the records of inodes that take no extended attributes. Its file
// is a log, one line a record, the last one for an inode counts:
//
//	INODE BIRTH MODIFIED RECORD
//
// where the times are nanoseconds since 1970. An inode number alone says
// little, since file systems use numbers again; but a file that was made anew
// has another time of birth. A file that an overlay copied up has that too, but
// shows the inode number and keeps the time of modification of the one below.
// A worker and its stages append to the same file and read what others added.
type table struct {
	file *os.File

	mu     sync.Mutex // guards what follows
	read   int64      // how much of the file is in rows
	rows   map[uint64][]row
	buffer []byte
}

type row struct {
	born, modified int64
	rec            record
}

// openTable opens the table at path, making an empty one if there is none.
func openTable(path string) (*table, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("owner table: %w", err)
	}
	t := newTable(f)
	if err := t.catchUp(); err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

func newTable(f *os.File) *table { return &table{file: f, rows: map[uint64][]row{}} }

func (t *table) close() error { return t.file.Close() }

// empty reports whether the table has no record, not even from others.
func (t *table) empty() bool {
	var st unix.Stat_t
	err := unix.Fstat(int(t.file.Fd()), &st)
	return err == nil && st.Size == 0
}

// catchUp reads what was added to the file since it was last read. A line
// without an end is left for the next time.
func (t *table) catchUp() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(t.file.Fd()), &st); err != nil {
		return fmt.Errorf("owner table: %w", err)
	}
	if st.Size == t.read {
		return nil
	}
	b, err := io.ReadAll(io.NewSectionReader(t.file, t.read, st.Size-t.read))
	if err != nil {
		return fmt.Errorf("owner table: %w", err)
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	t.read += int64(len(b))
	for line := range bytes.Lines(b) {
		inode, r, err := parseRow(bytes.TrimSuffix(line, []byte{'\n'}))
		if err != nil {
			return err
		}
		t.rows[inode] = append(t.rows[inode], r)
	}
	return nil
}

func parseRow(line []byte) (inode uint64, r row, err error) {
	f := bytes.SplitN(line, []byte{' '}, 4)
	if len(f) == 4 {
		var errs [3]error
		inode, errs[0] = strconv.ParseUint(string(f[0]), 10, 64)
		r.born, errs[1] = strconv.ParseInt(string(f[1]), 10, 64)
		r.modified, errs[2] = strconv.ParseInt(string(f[2]), 10, 64)
		if errs == [3]error{} {
			r.rec, err = parseRecord(f[3])
			return inode, r, err
		}
	}
	return 0, r, fmt.Errorf("owner table: line %q: not INODE BIRTH MODIFIED RECORD", line)
}

// find returns the record of the inode, if one was made for just that inode.
func (t *table) find(st *unix.Statx_t) (record, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.catchUp() != nil {
		return plain(), false
	}
	born, modified := nanoseconds(st.Btime), nanoseconds(st.Mtime)
	rows := t.rows[st.Ino]
	for i := len(rows) - 1; i >= 0; i-- {
		if r := rows[i]; r.born == born || r.modified == modified {
			return r.rec, true
		}
	}
	return plain(), false
}

// add appends a record; one write, so that others never see half a line.
func (t *table) add(st *unix.Statx_t, rec record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := strconv.AppendUint(t.buffer[:0], st.Ino, 10)
	b = strconv.AppendInt(append(b, ' '), nanoseconds(st.Btime), 10)
	b = strconv.AppendInt(append(b, ' '), nanoseconds(st.Mtime), 10)
	b = append(rec.append(append(b, ' ')), '\n')
	t.buffer = b
	if _, err := t.file.Write(b); err != nil {
		return fmt.Errorf("owner table: %w", err)
	}
	return nil
}

func nanoseconds(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }
