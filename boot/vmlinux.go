package boot

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"

	"ore/deb/archive"
)

// The setup header of a bzImage (Documentation/arch/x86/boot.rst).
const (
	bzSetupSects   = 0x1f1
	bzMagicAt      = 0x202
	bzVersionAt    = 0x206
	bzPayloadAt    = 0x248
	bzPayloadLenAt = 0x24c
	bzHeaderEnd    = 0x250
	bzSector       = 512
	// bzPayloadVersion is the protocol that brought the payload's place.
	bzPayloadVersion = 0x0208
	// maxVmlinux bounds the decompressed kernel; Debian's have 50 to 80 MiB.
	maxVmlinux = 1 << 30
)

// errNoPVH says that a kernel cannot be entered by the PVH protocol.
var errNoPVH = errors.New("the kernel has no PVH entry")

// vmlinux writes the kernel's ELF file, which is the payload of the bzImage in
// the first size bytes of r. It returns an error that is errNoPVH for kernels
// to which QEMU could not jump directly.
func vmlinux(w io.Writer, r io.ReaderAt) error {
	payload, err := payload(r)
	if err != nil {
		return err
	}
	out, err := decodePayload(payload)
	if err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	if err := checkPVH(out); err != nil {
		return err
	}
	_, err = w.Write(out)
	return err
}

// payload returns the compressed kernel within a bzImage.
func payload(r io.ReaderAt) ([]byte, error) {
	h := make([]byte, bzHeaderEnd)
	if _, err := r.ReadAt(h, 0); err != nil {
		return nil, noEOF(err)
	}
	le := binary.LittleEndian
	if string(h[bzMagicAt:bzMagicAt+4]) != "HdrS" || le.Uint16(h[bzVersionAt:]) < bzPayloadVersion {
		return nil, errors.New("not a bzImage")
	}
	setup := int64(h[bzSetupSects])
	if setup == 0 {
		setup = 4 // for the sake of the oldest loaders, says boot.rst
	}
	at := (setup+1)*bzSector + int64(le.Uint32(h[bzPayloadAt:]))
	n := int64(le.Uint32(h[bzPayloadLenAt:]))
	b, err := io.ReadAll(io.NewSectionReader(r, at, n))
	if err == nil && int64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// decodePayload tells the format by its first bytes. All formats but gzip have
// the decoded size, in four bytes, behind their data (scripts/Makefile.lib).
func decodePayload(b []byte) ([]byte, error) {
	body := b
	if len(b) > 4 {
		body = b[:len(b)-4]
	}
	var r io.ReadCloser
	var err error
	switch {
	case bytes.HasPrefix(b, []byte("\x1f\x8b")):
		r, err = archive.Decode("gz", bytes.NewReader(b))
	case bytes.HasPrefix(b, []byte("\xfd7zXZ\x00")):
		r, err = archive.Decode("xz", bytes.NewReader(body))
	case bytes.HasPrefix(b, []byte("\x28\xb5\x2f\xfd")):
		r, err = archive.Decode("zst", bytes.NewReader(body))
	case bytes.HasPrefix(b, []byte("\x02\x21\x4c\x18")):
		r = io.NopCloser(lz4.NewReader(bytes.NewReader(body)))
	case bytes.HasPrefix(b, []byte("\x5d\x00\x00")):
		r, err = archive.Decode("lzma", bytes.NewReader(body))
	case bytes.HasPrefix(b, []byte("\x7fELF")):
		return b, nil
	default:
		return nil, errors.New("compressed in a way that is not known")
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	out, err := io.ReadAll(io.LimitReader(r, maxVmlinux+1))
	if err == nil && len(out) > maxVmlinux {
		err = errors.New("decodes to more than a kernel has")
	}
	return out, err
}

// checkPVH looks for the note of type XEN_ELFNOTE_PHYS32_ENTRY, 18, by which
// QEMU finds the entry (xen/include/public/elfnote.h).
func checkPVH(b []byte) error {
	e, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("vmlinux: %w", err)
	}
	const xenPhys32Entry = 18
	for _, p := range e.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > uint64(len(b)) {
			continue
		}
		notes, err := io.ReadAll(p.Open())
		if err != nil {
			return fmt.Errorf("vmlinux: %w", err)
		}
		for len(notes) >= 12 {
			name, desc := int(e.ByteOrder.Uint32(notes)), int(e.ByteOrder.Uint32(notes[4:]))
			kind := e.ByteOrder.Uint32(notes[8:])
			notes = notes[12:]
			if name < 0 || desc < 0 || name+pad(name)+desc+pad(desc) > len(notes) {
				break
			}
			if kind == xenPhys32Entry && string(bytes.TrimRight(notes[:name], "\x00")) == "Xen" {
				return nil
			}
			notes = notes[name+pad(name)+desc+pad(desc):]
		}
	}
	return errNoPVH
}
