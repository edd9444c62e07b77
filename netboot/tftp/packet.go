package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The opcodes of RFC 1350, section 5, and RFC 2347.
const (
	opRead  = 1
	opWrite = 2
	opData  = 3
	opAck   = 4
	opError = 5
	opOAck  = 6
)

// The error codes of RFC 1350 and RFC 2347 that the server sends.
const (
	codeUndefined = 0
	codeNotFound  = 1
	codeAccess    = 2
	codeIllegal   = 4
	codeOptions   = 8
)

const (
	headerLen = 4 // opcode and block number
	// plainBlock is the size of a block when none is agreed (RFC 1350).
	plainBlock = 512
	minBlock   = 8     // RFC 2348
	maxBlock   = 65464 // RFC 2348
	maxTimeout = 255   // seconds, RFC 2349
	// maxName is the longest name of a file: firmware takes it from a DHCP
	// field of 128 octets.
	maxName = 255
	// maxOptions bounds the pairs of a request; five are known.
	maxOptions = 16
)

// request is a read request (RFC 1350, figure 5-1; RFC 2347).
type request struct {
	name    string
	options options
}

// options are what a client asked for; 0 stands for what it did not.
type options struct {
	block   int
	timeout int // seconds
	window  int
	size    bool // it wants to know the size
}

// any says whether the client asked for anything, and so waits for an OACK.
func (o options) any() bool { return o.block > 0 || o.timeout > 0 || o.window > 0 || o.size }

// refusal is a request that is answered by an ERROR packet.
type refusal struct {
	code uint16
	text string
}

func (r *refusal) Error() string { return r.text }

// errSilence is a packet that gets no answer.
var errSilence = errors.New("not a request")

// parseRequest reads the first packet of a transfer. Its error is a *refusal
// or errSilence.
func parseRequest(b []byte) (request, error) {
	if len(b) < 2 {
		return request{}, errSilence
	}
	switch binary.BigEndian.Uint16(b) {
	case opRead:
	case opWrite:
		return request{}, &refusal{codeAccess, "files are read here, not written"}
	default:
		return request{}, errSilence
	}
	if len(b) > maxRequest {
		return request{}, &refusal{codeIllegal, fmt.Sprintf("a request of more than %d octets: use a shorter name, or fewer options", maxRequest)}
	}
	words, err := split(b[2:])
	if err != nil {
		return request{}, err
	}
	if len(words) < 2 || words[0] == "" || len(words[0]) > maxName {
		return request{}, &refusal{codeIllegal, "no name of a file, or too long a one"}
	}
	if !strings.EqualFold(words[1], "octet") {
		return request{}, &refusal{codeUndefined, "only mode octet is served"}
	}
	o, err := parseOptions(words[2:])
	if err != nil {
		return request{}, err
	}
	return request{name: words[0], options: o}, nil
}

// split takes apart strings that each end with a zero octet.
func split(b []byte) ([]string, error) {
	var words []string
	for len(b) > 0 {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			// Some firmware leaves octets behind the mode's end.
			if len(words) >= 2 {
				return words, nil
			}
			return nil, &refusal{codeIllegal, "a string has no end"}
		}
		words = append(words, string(b[:i]))
		if len(words) > 2+2*maxOptions {
			return nil, &refusal{codeIllegal, "too many options"}
		}
		b = b[i+1:]
	}
	return words, nil
}

// parseOptions reads pairs of name and value. Unknown ones are left out, and
// so not acknowledged, as RFC 2347 says.
func parseOptions(words []string) (options, error) {
	var o options
	for ; len(words) >= 2; words = words[2:] {
		n, err := strconv.ParseUint(words[1], 10, 32)
		var wrong bool
		switch strings.ToLower(words[0]) {
		case "blksize":
			wrong = err != nil || n < minBlock
			o.block = int(min(n, maxBlock))
		case "timeout":
			wrong = err != nil || n < 1 || n > maxTimeout
			o.timeout = int(n)
		case "windowsize":
			wrong = err != nil || n < 1 || n > 65535
			o.window = int(n)
		case "tsize":
			o.size = true
		}
		if wrong {
			return options{}, &refusal{codeOptions, fmt.Sprintf("option %.20q: not a value that it may have", words[0])}
		}
	}
	return o, nil
}

// oack writes the acknowledgement of options for a file of size octets.
func (o options) oack(size int64) []byte {
	b := []byte{0, opOAck}
	add := func(name string, value int64) {
		b = append(append(b, name...), 0)
		b = append(strconv.AppendInt(b, value, 10), 0)
	}
	if o.block > 0 {
		add("blksize", int64(o.block))
	}
	if o.timeout > 0 {
		add("timeout", int64(o.timeout))
	}
	if o.window > 0 {
		add("windowsize", int64(o.window))
	}
	if o.size {
		add("tsize", size)
	}
	return b
}

// errorPacket writes an ERROR.
func errorPacket(r *refusal) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, opError}, r.code)
	return append(append(b, r.text...), 0)
}

// parseAck reads an answer of the client's: a block number, or the end. An ERROR
// ends the transfer with its text.
func parseAck(b []byte) (block uint16, err error) {
	if len(b) < headerLen {
		return 0, errSilence
	}
	n := binary.BigEndian.Uint16(b[2:])
	switch binary.BigEndian.Uint16(b) {
	case opAck:
		return n, nil
	case opError:
		text, _, _ := bytes.Cut(b[headerLen:], []byte{0})
		return 0, &clientError{code: n, text: string(text[:min(len(text), maxName)])}
	}
	return 0, errSilence
}

// clientError is an ERROR that the client sent.
type clientError struct {
	code uint16
	text string
}

func (e *clientError) Error() string {
	return fmt.Sprintf("the client ended it: code %d %q", e.code, e.text)
}
