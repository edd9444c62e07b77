package export

import (
	"encoding/binary"
	"os"
)

// qcow2 writes version 3 of QEMU's format (docs/interop/qcow2.txt in its
// source): the header in the first cluster, then content in the order in which
// it was written, then the tables. All numbers are big-endian.
type qcow2 struct {
	clusters
	file *os.File
	size int64
}

const (
	qcowBits       = 16 // clusters of 1 << 16 bytes
	qcowHeader     = 104
	qcowCopied     = 1 << 63         // the cluster has exactly one user
	qcowEntries    = clusterSize / 8 // of a table
	qcowCounts     = clusterSize / 2 // of a block of reference counts, 16 bits each
	qcowCountOrder = 4               // 1 << 4 bits
)

func newQCOW2(f *os.File, size int64) *qcow2 {
	return &qcow2{newClusters(f, size, 1), f, size}
}

func (q *qcow2) finish() error {
	top, err := q.writeMaps()
	if err != nil {
		return err
	}
	topAt, err := q.append(top)
	if err != nil {
		return err
	}
	countsAt, countsLen, err := q.writeCounts()
	if err != nil {
		return err
	}
	// A file ends with a whole cluster.
	if err := q.file.Truncate(int64(q.next) * clusterSize); err != nil {
		return err
	}
	h := make([]byte, qcowHeader+8) // and the end of the list of extensions
	be := binary.BigEndian
	copy(h, "QFI\xfb")
	be.PutUint32(h[4:], 3)
	be.PutUint32(h[20:], qcowBits)
	be.PutUint64(h[24:], uint64(q.size))
	be.PutUint32(h[36:], uint32(len(top)))
	be.PutUint64(h[40:], topAt)
	be.PutUint64(h[48:], countsAt)
	be.PutUint32(h[56:], countsLen)
	be.PutUint32(h[96:], qcowCountOrder)
	be.PutUint32(h[100:], qcowHeader)
	_, err = q.file.WriteAt(h, 0)
	return err
}

// writeMaps writes the tables that say where clusters are, and returns the
// table of these tables. A table without clusters is left out.
func (q *qcow2) writeMaps() ([]uint64, error) {
	var top []uint64
	for from := 0; from < len(q.place); from += qcowEntries {
		table := make([]uint64, qcowEntries)
		any := false
		for i, at := range q.place[from:min(from+qcowEntries, len(q.place))] {
			if at != 0 {
				table[i], any = uint64(at)*clusterSize|qcowCopied, true
			}
		}
		if !any {
			top = append(top, 0)
			continue
		}
		at, err := q.append(table)
		if err != nil {
			return nil, err
		}
		top = append(top, at|qcowCopied)
	}
	return top, nil
}

// append writes a table behind all else and returns its place.
func (q *qcow2) append(table []uint64) (uint64, error) {
	b := make([]byte, len(table)*8)
	for i, v := range table {
		binary.BigEndian.PutUint64(b[i*8:], v)
	}
	return q.appendBytes(b)
}

func (q *qcow2) appendBytes(b []byte) (uint64, error) {
	at := int64(q.next) * clusterSize
	q.next += uint32((len(b) + clusterSize - 1) / clusterSize)
	_, err := q.file.WriteAt(b, at)
	return uint64(at), err
}

// writeCounts writes the reference counts, which are 1 for every cluster of
// the file, those of the counts and of their table too. It returns the table's
// place and how many clusters it has.
func (q *qcow2) writeCounts() (at uint64, tableLen uint32, err error) {
	var total, blocks uint32
	for {
		total = q.next + blocks + tableLen
		b := (total + qcowCounts - 1) / qcowCounts
		n := (b + qcowEntries - 1) / qcowEntries
		if b == blocks && n == tableLen {
			break
		}
		blocks, tableLen = b, n
	}
	table := make([]uint64, 0, blocks)
	for i := range blocks {
		b := make([]byte, clusterSize)
		for c := range min(total-i*qcowCounts, qcowCounts) {
			binary.BigEndian.PutUint16(b[c*2:], 1)
		}
		at, err := q.appendBytes(b)
		if err != nil {
			return 0, 0, err
		}
		table = append(table, at)
	}
	at, err = q.append(table)
	return at, tableLen, err
}
