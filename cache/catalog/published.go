package catalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ore/cache/index"
)

// Published is what a cache's processes tell each other of the list of images.
type Published struct {
	Generation int64   // of the list
	Indexed    int64   // the large index's, 0 if there is none
	Doomed     bool    // there are blobs to be deleted
	Gone       []int64 // images of the large index that went since
	Since      []byte  // index of the images and packages that came since
}

// Identity says of which database something is true, and until when.
type Identity struct {
	Schema   int
	Boot     string // of the host, see Boot
	Dev, Ino uint64 // of the database's file
}

// ErrNone is returned where nothing is published that counts.
var ErrNone = errors.New("nothing is published")

// Boot returns what tells this boot of the host from others, "" where the kernel
// does not say.
func Boot() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// At returns the identity of the database file at path.
func (i Identity) At(path string) (Identity, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return i, fmt.Errorf("database: %w", err)
	}
	i.Dev, i.Ino = uint64(st.Dev), st.Ino
	return i, nil
}

// File is where something is published.
type File string

// In returns the file of a cache's folder.
func In(dir string) File { return File(filepath.Join(dir, "index", Name)) }

// Name is the name of the file in the folder of the indexes.
const Name = "current"

// The file: a header of fixed size, then the images that went as u64 each, then
// the index of what came. The index has sums of its own.
const (
	published    = "orecurr1"
	bootSize     = 40
	headerSize   = len(published) + 4 + 4 + bootSize + 4*8 + 3*4
	flagDoomed   = 1
	atSum        = len(published)
	atSchema     = atSum + 4
	atBoot       = atSchema + 4
	atDev        = atBoot + bootSize
	atNumbers    = atDev + 16
	atFlags      = atNumbers + 16
	atGoneSum    = atFlags + 4
	atGone       = atGoneSum + 4
	maxPublished = 64 << 20 // bytes; it is written anew long before
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode returns the file.
func (p Published) encode(of Identity) []byte {
	b := make([]byte, headerSize, headerSize+8*len(p.Gone)+len(p.Since))
	copy(b, published)
	le := binary.LittleEndian
	le.PutUint32(b[atSchema:], uint32(of.Schema))
	copy(b[atBoot:atBoot+bootSize], of.Boot)
	le.PutUint64(b[atDev:], of.Dev)
	le.PutUint64(b[atDev+8:], of.Ino)
	le.PutUint64(b[atNumbers:], uint64(p.Generation))
	le.PutUint64(b[atNumbers+8:], uint64(p.Indexed))
	if p.Doomed {
		le.PutUint32(b[atFlags:], flagDoomed)
	}
	le.PutUint32(b[atGone:], uint32(len(p.Gone)))
	for _, g := range p.Gone {
		b = le.AppendUint64(b, uint64(g))
	}
	le.PutUint32(b[atGoneSum:], crc32.Checksum(b[headerSize:], castagnoli))
	le.PutUint32(b[atSum:], crc32.Checksum(b[atSchema:headerSize], castagnoli))
	return append(b, p.Since...)
}

// decodeHeader reads what stands before the images that went.
func decodeHeader(b []byte, of Identity) (p Published, gone int, err error) {
	le := binary.LittleEndian
	if len(b) < headerSize || string(b[:len(published)]) != published || crc32.Checksum(b[atSchema:headerSize], castagnoli) != le.Uint32(b[atSum:]) {
		return p, 0, ErrNone
	}
	boot := strings.TrimRight(string(b[atBoot:atBoot+bootSize]), "\x00")
	same := le.Uint32(b[atSchema:]) == uint32(of.Schema) && boot == of.Boot && of.Boot != "" &&
		le.Uint64(b[atDev:]) == of.Dev && le.Uint64(b[atDev+8:]) == of.Ino
	if !same {
		return p, 0, ErrNone
	}
	p.Generation, p.Indexed = int64(le.Uint64(b[atNumbers:])), int64(le.Uint64(b[atNumbers+8:]))
	p.Doomed = le.Uint32(b[atFlags:])&flagDoomed != 0
	return p, int(le.Uint32(b[atGone:])), nil
}

// decode reads the whole file.
func decode(b []byte, of Identity) (Published, error) {
	p, gone, err := decodeHeader(b, of)
	if err != nil {
		return p, err
	}
	end := headerSize + 8*gone
	if end > len(b) || crc32.Checksum(b[headerSize:end], castagnoli) != binary.LittleEndian.Uint32(b[atGoneSum:]) {
		return p, ErrNone
	}
	p.Gone = make([]int64, gone)
	for i := range p.Gone {
		p.Gone[i] = int64(binary.LittleEndian.Uint64(b[headerSize+8*i:]))
	}
	p.Since = b[end:]
	return p, nil
}

// Read returns what is published of the database of, ErrNone if nothing is. A
// caller to whom the first of it, without Gone and Since, says enough gets no more.
func (f File) Read(of Identity, enough func(Published) bool) (Published, error) {
	in, err := os.Open(string(f))
	if err != nil {
		return Published{}, errors.Join(ErrNone, err)
	}
	defer in.Close()
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(in, head); err != nil {
		return Published{}, errors.Join(ErrNone, err)
	}
	if p, _, err := decodeHeader(head, of); err != nil || enough(p) {
		return p, err
	}
	info, err := in.Stat()
	if err != nil || info.Size() > maxPublished {
		return Published{}, errors.Join(ErrNone, err)
	}
	all := make([]byte, info.Size())
	copy(all, head)
	if _, err := io.ReadFull(in, all[headerSize:]); err != nil {
		return Published{}, errors.Join(ErrNone, err)
	}
	return decode(all, of)
}

// Write publishes p of the database of, in place of what was. The caller has the
// lock.
func (f File) Write(p Published, of Identity) error {
	tmp, err := os.CreateTemp(filepath.Dir(string(f)), "new-*")
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(p.encode(of))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), string(f))
	}
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// Remove takes back what is published. The caller has the lock.
func (f File) Remove() error {
	if err := os.Remove(string(f)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// Catalog returns the catalog that p tells of, with the large index.
func (p Published) Catalog(large *index.Index) (Catalog, error) {
	c := Catalog{Gone: make(map[int64]bool, len(p.Gone))}
	for _, g := range p.Gone {
		c.Gone[g] = true
	}
	if large != nil {
		c.Files = append(c.Files, large)
	}
	since, err := index.Parse(p.Since)
	if err != nil {
		return c, err
	}
	c.Files = append(c.Files, since)
	return c, nil
}
