// Package qmp speaks the QEMU Machine Protocol with a running QEMU (QEMU's
// docs/interop/qmp-spec.rst): JSON objects, one a line. The server greets, the
// client agrees on no capabilities, then each command gets one return or
// error; events come in between and are not used.
//
//	S: {"QMP": {"version": {"qemu": {"major": 7, ...}}, "capabilities": []}}
//	C: {"execute": "qmp_capabilities"}
//	S: {"return": {}}
//	C: {"execute": "stop"}
//	S: {"timestamp": {...}, "event": "STOP"}
//	S: {"return": {}}
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// maxLine is the longest line that is read: replies to the commands used are
// a few hundred bytes, the longest reply of QEMU (its whole schema) 300 KiB.
const maxLine = 1 << 20

// Client is a connection with one QEMU. Its methods may be called from any
// goroutine; commands run one after the other.
type Client struct {
	conn  net.Conn
	turn  chan struct{} // holds a token while nobody talks
	lines *bufio.Scanner
	ready bool // greeted; owned by who has the turn
}

// New returns a client on an open connection, which it owns. Nothing is read
// or written before the first command.
func New(c net.Conn) *Client {
	s := bufio.NewScanner(c)
	s.Buffer(make([]byte, 4096), maxLine)
	q := &Client{conn: c, turn: make(chan struct{}, 1), lines: s}
	q.turn <- struct{}{}
	return q
}

// Error is QEMU's answer to a command that it could not carry out.
type Error struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

// Error returns QEMU's description.
func (e *Error) Error() string { return e.Class + ": " + e.Desc }

// message is any line of the server.
type message struct {
	QMP    json.RawMessage `json:"QMP"`
	Return json.RawMessage `json:"return"`
	Error  *Error          `json:"error"`
	Event  string          `json:"event"`
}

// Execute runs a command with arguments (nil for none) and decodes its return
// into result (nil to ignore it). When ctx ends first, the answer is no longer
// known and the client cannot be used again.
func (q *Client) Execute(ctx context.Context, command string, arguments, result any) error {
	select {
	case <-q.turn:
	case <-ctx.Done():
		return fmt.Errorf("qmp %s: %w", command, ctx.Err())
	}
	defer func() { q.turn <- struct{}{} }()
	stop := context.AfterFunc(ctx, func() { q.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := q.greet()
	if err == nil {
		err = q.call(command, arguments, result)
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	return nil
}

func (q *Client) greet() error {
	if q.ready {
		return nil
	}
	m, err := q.next()
	if err != nil {
		return err
	}
	if m.QMP == nil {
		return errors.New("no greeting")
	}
	q.ready = true
	return q.call("qmp_capabilities", nil, nil)
}

func (q *Client) call(command string, arguments, result any) error {
	b, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return err
	}
	if _, err := q.conn.Write(append(b, '\n')); err != nil {
		return err
	}
	for {
		m, err := q.next()
		switch {
		case err != nil:
			return err
		case m.Error != nil:
			return m.Error
		case m.Return == nil:
			continue // an event
		case result == nil:
			return nil
		}
		return json.Unmarshal(m.Return, result)
	}
}

// next reads one line of the server.
func (q *Client) next() (message, error) {
	if !q.lines.Scan() {
		if err := q.lines.Err(); err != nil {
			return message{}, err
		}
		return message{}, io.EOF
	}
	return parse(q.lines.Bytes())
}

func parse(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("%w in %.80q", err, line)
	}
	return m, nil
}

// Close closes the connection; a command under way ends with an error.
func (q *Client) Close() error { return q.conn.Close() }
