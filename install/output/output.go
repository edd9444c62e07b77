// Package output takes what programs print.
package output

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"ore"
)

// tailLimit is how much of a program's output an error shows: enough for the
// lines that say why.
const tailLimit = 4 << 10

// Lines passes a program's output on as events, line by line, and keeps its end.
type Lines struct {
	Watch ore.Watcher
	Stage string
	Mark  string // only lines with this beginning become events; "" for all

	mu   sync.Mutex // guards part and end: stdout and stderr may be two pipes
	part []byte
	end  []byte
}

// Write takes output.
func (l *Lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end = append(l.end, b...)
	if n := len(l.end) - tailLimit; n > tailLimit {
		l.end = append(l.end[:0], l.end[n:]...)
	}
	l.part = append(l.part, b...)
	for {
		i := bytes.IndexByte(l.part, '\n')
		if i < 0 {
			break
		}
		if line := string(l.part[:i]); strings.HasPrefix(line, l.Mark) {
			l.Watch.Tell(ore.Event{Stage: l.Stage, Text: strings.TrimPrefix(line, l.Mark)})
		}
		l.part = l.part[i+1:]
	}
	if len(l.part) > tailLimit {
		l.part = l.part[:0] // a line that nobody could read anyway
	}
	return len(b), nil
}

// Tail returns the end of the output.
func (l *Lines) Tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.end
	if n := len(b) - tailLimit; n > 0 {
		b = b[n:]
	}
	return strings.TrimRight(string(b), "\n")
}

// Explain adds to the error of a program what it printed last, if it did, or how
// to find out where it failed.
func (l *Lines) Explain(err error) error {
	if tail := l.Tail(); tail != "" {
		return fmt.Errorf("%w: correct what it says; the output ends with:\n%s", err, tail)
	}
	return fmt.Errorf("%w, and it printed nothing: put 'set -x' before its commands to see which one fails", err)
}
