package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// Sort is what a frame inside an exec stream holds.
type Sort byte

// The sorts of frames.
const (
	Stdout  Sort = 'o' // output
	Stderr  Sort = 'e' // error output
	Ended   Sort = 'x' // JSON of Exit; the last frame
	Failure Sort = 'f' // text: the machine could not do it; the last frame
	Signal  Sort = 's' // one byte, the signal's number
	Resize  Sort = 'r' // rows and columns, two bytes each
)

// MaxFrame bounds the payload of a frame: a pipe's worth.
const MaxFrame = 64 << 10

// FrameHeader is how many bytes precede a frame's payload.
const FrameHeader = 4

// PutHeader writes the header for a payload of n bytes to b[:FrameHeader], so
// that a caller may read output straight to where it will be sent from.
func PutHeader(b []byte, k Sort, n int) {
	binary.BigEndian.PutUint32(b, uint32(k)<<24|uint32(n))
}

// WriteFrame writes one frame with one call of Write.
func WriteFrame(w io.Writer, k Sort, payload []byte) error {
	if len(payload) > MaxFrame {
		return fmt.Errorf("frame %q of %d bytes: the limit is %d", k, len(payload), MaxFrame)
	}
	b := make([]byte, FrameHeader, FrameHeader+len(payload))
	PutHeader(b, k, len(payload))
	_, err := w.Write(append(b, payload...))
	return err
}

// ReadFrame reads one frame into buf, which must hold MaxFrame bytes, and
// returns the part that it fills. io.EOF means that there is no further one.
func ReadFrame(r io.Reader, buf []byte) (Sort, []byte, error) {
	var h [FrameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	v := binary.BigEndian.Uint32(h[:])
	k, n := Sort(v>>24), int(v&0xffffff)
	if n > MaxFrame {
		return 0, nil, fmt.Errorf("frame %q of %d bytes: the limit is %d", k, n, MaxFrame)
	}
	switch k {
	case Stdout, Stderr, Ended, Failure:
	case Signal:
		if n != 1 {
			return 0, nil, fmt.Errorf("signal frame of %d bytes", n)
		}
	case Resize:
		if n != 4 {
			return 0, nil, fmt.Errorf("resize frame of %d bytes", n)
		}
	default:
		return 0, nil, fmt.Errorf("frame of unknown sort %q", k)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return 0, nil, noEOF(err)
	}
	return k, buf[:n], nil
}

// WriteExit writes the last frame of a process that ended.
func WriteExit(w io.Writer, e Exit) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return WriteFrame(w, Ended, b)
}

// ParseExit reads the payload of an Ended frame. A code is what a process can
// have, 0 to 255; a signal's name is short.
func ParseExit(b []byte) (Exit, error) {
	var e Exit
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("exit: %w", err)
	}
	if e.Code < 0 || e.Code > 255 || len(e.Signal) > 16 {
		return Exit{}, fmt.Errorf("exit: code %d, signal %.16q: no process ends so", e.Code, e.Signal)
	}
	return e, nil
}

// WriteFailure writes the last frame of a stream whose work was not done.
func WriteFailure(w io.Writer, err error) error {
	text := err.Error()
	return WriteFrame(w, Failure, []byte(text[:min(len(text), maxFailure)]))
}

// maxFailure bounds the text of a failure: it is shown to a person.
const maxFailure = 4 << 10

// AppendResize makes the payload of a Resize frame.
func AppendResize(b []byte, s Size) []byte {
	b = binary.BigEndian.AppendUint16(b, s.Rows)
	return binary.BigEndian.AppendUint16(b, s.Cols)
}

// ParseResize reads the payload of a Resize frame.
func ParseResize(b []byte) Size {
	return Size{Rows: binary.BigEndian.Uint16(b), Cols: binary.BigEndian.Uint16(b[2:])}
}
