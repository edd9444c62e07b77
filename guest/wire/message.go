package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// MaxMessage bounds one message. A command line may be 2 MB by Linux's own
// limit, but what does not fit here belongs into a file.
const MaxMessage = 1 << 20

// maxGreeting bounds hello and welcome, which come from a peer that has not
// yet shown its token.
const maxGreeting = 64 << 10

// Magic opens the greeting; the last digit is the version of the protocol.
const Magic = "ORE-WIR1"

// Hello is what a machine says first.
type Hello struct {
	Token   string   // the one-time token of its identity
	Name    string   // "m0"
	Kernel  string   // release of the running kernel
	Timings []Timing // the stages of its boot, in order
	Error   string   // what kept it from booting; nothing follows then
	Stage   string   // the stage in which that was
}

// Timing is how long one stage of a machine's boot took.
type Timing struct {
	Stage  string
	Micros int64
}

// Welcome is the host's answer to [Hello].
type Welcome struct {
	UnixNanos int64 // the host's time
}

// SendHello greets the host and returns its answer.
func SendHello(rw io.ReadWriter, h Hello) (Welcome, error) {
	var w Welcome
	b, err := appendMessage([]byte(Magic), h, maxGreeting)
	if err != nil {
		return w, fmt.Errorf("greet host: %w", err)
	}
	if _, err := rw.Write(b); err != nil {
		return w, fmt.Errorf("greet host: %w", err)
	}
	if err := readMessage(rw, &w, maxGreeting); err != nil {
		return w, fmt.Errorf("greet host: %w", err)
	}
	return w, nil
}

// ReceiveHello waits for the machine's greeting. It reads not one byte more.
func ReceiveHello(r io.Reader) (Hello, error) {
	var h Hello
	var magic [len(Magic)]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil {
		return h, fmt.Errorf("greeting of machine: %w", err)
	}
	if string(magic[:]) != Magic {
		return h, fmt.Errorf("greeting of machine: starts with %q, not %q", magic, Magic)
	}
	if err := readMessage(r, &h, maxGreeting); err != nil {
		return h, fmt.Errorf("greeting of machine: %w", err)
	}
	return h, nil
}

// SendWelcome answers a greeting.
func SendWelcome(w io.Writer, a Welcome) error { return writeMessage(w, a, maxGreeting) }

// Operation says what a stream is for.
type Operation string

// The operations. What follows the request on the stream:
const (
	// Exec: the machine sends frames of [WriteFrame]: Stdout and Stderr in
	// the order in which it read them, then one Exit or Failure. The host
	// may send Signal and Resize. If Input was said, the host opens a second
	// stream with operation Stdin and the same ID.
	Exec Operation = "exec"
	// Stdin: raw bytes for the process of the exec stream with the same ID.
	Stdin Operation = "stdin"
	// Launch is Exec asked for by a machine, to be done on machine To.
	Launch Operation = "launch"
	// Put: the host sends a tar stream, then its end; the machine answers
	// with one [Answer].
	Put Operation = "put"
	// Get: the machine answers with one [Answer], then frames of
	// [WriteFrame]: Stdout with pieces of a tar stream, then Exit or Failure.
	Get Operation = "get"
	// State: the machine answers with one [Condition].
	State Operation = "state"
	// Meet: the machine takes Hosts for all machines of the job, and answers
	// with one [Answer].
	Meet Operation = "meet"
	// PowerOff: the machine sends an empty [Answer] and switches itself off.
	PowerOff Operation = "poweroff"
)

// Request is the first message on a stream.
type Request struct {
	Op Operation
	ID uint32 `json:",omitempty"` // joins Exec and Stdin; chosen by who asks, unique among the running

	// Exec and Launch
	To      string            `json:",omitempty"` // the machine to launch on
	Args    []string          `json:",omitempty"`
	Script  string            `json:",omitempty"`
	Env     []string          `json:",omitempty"`
	User    string            `json:",omitempty"`
	Input   bool              `json:",omitempty"` // a Stdin stream follows
	TTY     *Size             `json:",omitempty"`
	Secrets map[string][]byte `json:",omitempty"`
	Pids    int               `json:",omitempty"` // limit of processes, 0 for the machine's own
	Sweep   bool              `json:",omitempty"` // end what the main process left running
	GraceMS int64             `json:",omitempty"` // between SIGTERM and SIGKILL

	// Exec, Put and Get
	Dir      string   `json:",omitempty"`
	Patterns []string `json:",omitempty"`

	// Meet
	Hosts []Host `json:",omitempty"`
}

// Host is a machine's name and address.
type Host struct{ Name, IP string }

// Size is a terminal's.
type Size struct{ Rows, Cols uint16 }

// Exit is how a process ended: its code, or the signal's name.
type Exit struct {
	Code   int
	Signal string
}

// Answer is the machine's word on a Put or Get.
type Answer struct{ Error string }

// Condition is a machine's state.
type Condition struct {
	UptimeMS        int64
	MemoryTotal     int64 // bytes
	MemoryAvailable int64
	DiskTotal       int64 // bytes of the private disk
	DiskFree        int64
	Processes       int
}

// SendRequest writes the first message of a stream.
func SendRequest(w io.Writer, r Request) error { return writeMessage(w, r, MaxMessage) }

// ReceiveRequest reads the first message of a stream.
func ReceiveRequest(r io.Reader) (Request, error) {
	var q Request
	err := readMessage(r, &q, MaxMessage)
	return q, err
}

// SendAnswer writes a later message of a stream.
func SendAnswer[T Answer | Condition](w io.Writer, a T) error { return writeMessage(w, a, maxGreeting) }

// ReceiveAnswer reads a later message of a stream.
func ReceiveAnswer[T Answer | Condition](r io.Reader) (T, error) {
	var a T
	err := readMessage(r, &a, maxGreeting)
	return a, err
}

func writeMessage(w io.Writer, v any, limit int) error {
	b, err := appendMessage(nil, v, limit)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

func appendMessage(b []byte, v any, limit int) ([]byte, error) {
	m, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if len(m) > limit {
		return nil, fmt.Errorf("message of %d bytes: the limit is %d", len(m), limit)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(m)))
	return append(b, m...), nil
}

func readMessage(r io.Reader, v any, limit int) error {
	var h [4]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return fmt.Errorf("message: %w", err)
	}
	n := binary.BigEndian.Uint32(h[:])
	if n > uint32(limit) {
		return fmt.Errorf("message of %d bytes: the limit is %d", n, limit)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("message: %w", noEOF(err))
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("message: %w", err)
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
