package export

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
)

// vmdk writes a monolithicSparse disk (VMware's "Virtual Disk Format 5.0",
// hosted sparse extent): header, descriptor, two copies of the tables that say
// where grains are, then the grains in the order in which they were written.
// Numbers are little-endian and count sectors of 512 bytes.
type vmdk struct {
	clusters
	file   *os.File
	layout vmdkLayout
	text   string // the descriptor
}

const (
	sector          = 512
	grainSectors    = clusterSize / sector
	grainsPerTable  = 512
	tableSectors    = grainsPerTable * 4 / sector
	descriptorAt    = 1
	descriptorSize  = 20
	vmdkFlags       = 1 | 2        // the header has characters that show damage by text transfer; there are two copies of the tables
	diskHeads       = 255          // of the geometry that VMware gives to SCSI disks
	diskSectors     = 63           // of a track
	contentIDMask   = 1<<31 - 1    // 0xffffffff would say that there is no parent, 0xfffffffe is reserved
	maxVMDKName     = 255          // of the file in its own descriptor
	forbiddenInName = "\"\n\r\x00" // would end the name or the line
	maxVMDKSize     = 1 << 40      // so that every grain's place fits 32 bits of sectors
	vmdkMagic       = 0x564d444b   // "KDMV"
	vmdkVersion     = 1
)

// vmdkLayout says where the parts before the grains are, in sectors.
type vmdkLayout struct {
	capacity  int64
	tables    int64
	directory int64 // sectors of one directory of tables
	spare     int64 // where the second copy begins, which comes first
	main      int64 // where the copy begins that is used
	overhead  int64 // where the first grain is
}

func newVMDKLayout(size int64) vmdkLayout {
	var l vmdkLayout
	grains := (size + clusterSize - 1) / clusterSize
	l.capacity = grains * grainSectors
	l.tables = (grains + grainsPerTable - 1) / grainsPerTable
	l.directory = (l.tables*4 + sector - 1) / sector
	l.spare = descriptorAt + descriptorSize
	l.main = l.spare + l.directory + l.tables*tableSectors
	end := l.main + l.directory + l.tables*tableSectors
	l.overhead = (end + grainSectors - 1) / grainSectors * grainSectors
	return l
}

func newVMDK(f *os.File, size int64, name string, id [16]byte) (*vmdk, error) {
	if strings.ContainsAny(name, forbiddenInName) || len(name) > maxVMDKName {
		return nil, fmt.Errorf("file name %q: a vmdk holds its own name, which has no quotes or line ends: choose another", name)
	}
	if size > maxVMDKSize {
		return nil, fmt.Errorf("size %d: a vmdk of this kind has at most 1 TiB: choose qcow2", size)
	}
	l := newVMDKLayout(size)
	v := &vmdk{clusters: newClusters(f, size, uint32(l.overhead/grainSectors)), file: f, layout: l}
	v.text = descriptorText(name, l.capacity, binary.LittleEndian.Uint32(id[:])&contentIDMask)
	if len(v.text) > descriptorSize*sector {
		return nil, errors.New("the descriptor does not fit")
	}
	return v, nil
}

func descriptorText(name string, capacity int64, id uint32) string {
	return fmt.Sprintf(`# Disk DescriptorFile
version=1
CID=%08x
parentCID=ffffffff
createType="monolithicSparse"

# Extent description
RW %d SPARSE "%s"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.adapterType = "lsilogic"
`, id, capacity, name, capacity/(diskHeads*diskSectors), diskHeads, diskSectors)
}

func (v *vmdk) finish() error {
	if err := v.file.Truncate(int64(v.next) * clusterSize); err != nil {
		return err
	}
	for _, start := range [...]int64{v.layout.spare, v.layout.main} {
		if _, err := v.file.WriteAt(v.tables(start), start*sector); err != nil {
			return err
		}
	}
	if _, err := v.file.WriteAt([]byte(v.text), descriptorAt*sector); err != nil {
		return err
	}
	_, err := v.file.WriteAt(v.header(), 0)
	return err
}

// tables returns a copy of the tables that begins at start: the directory,
// then the tables that it names.
func (v *vmdk) tables(start int64) []byte {
	b := make([]byte, (v.layout.directory+v.layout.tables*tableSectors)*sector)
	le := binary.LittleEndian
	first := start + v.layout.directory
	for i := range v.layout.tables {
		le.PutUint32(b[i*4:], uint32(first+i*tableSectors))
	}
	grains := b[v.layout.directory*sector:]
	for i, at := range v.place {
		le.PutUint32(grains[i*4:], at*grainSectors)
	}
	return b
}

func (v *vmdk) header() []byte {
	b := make([]byte, sector)
	le := binary.LittleEndian
	le.PutUint32(b[0:], vmdkMagic)
	le.PutUint32(b[4:], vmdkVersion)
	le.PutUint32(b[8:], vmdkFlags)
	le.PutUint64(b[12:], uint64(v.layout.capacity))
	le.PutUint64(b[20:], grainSectors)
	le.PutUint64(b[28:], descriptorAt)
	le.PutUint64(b[36:], descriptorSize)
	le.PutUint32(b[44:], grainsPerTable)
	le.PutUint64(b[48:], uint64(v.layout.spare))
	le.PutUint64(b[56:], uint64(v.layout.main))
	le.PutUint64(b[64:], uint64(v.layout.overhead))
	copy(b[73:], "\n \r\n")
	return b
}
