package qmp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

// serve plays QEMU: it greets and answers commands from a table.
func serve(t *testing.T, answers map[string]string) *Client {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		fmt.Fprintln(theirs, `{"QMP": {"version": {}, "capabilities": []}}`)
		in := bufio.NewScanner(theirs)
		for in.Scan() {
			for command, answer := range answers {
				if strings.Contains(in.Text(), `"`+command+`"`) {
					fmt.Fprintln(theirs, answer)
				}
			}
		}
	}()
	q := New(ours)
	t.Cleanup(func() { q.Close(); <-done })
	return q
}

const agreed = `{"return": {}}`

func TestExecute(t *testing.T) {
	q := serve(t, map[string]string{
		"qmp_capabilities": agreed,
		"stop":             `{"timestamp": {"seconds": 1}, "event": "STOP"}` + "\n" + `{"return": {}}`,
		"query-status":     `{"return": {"running": true}}`,
		"cont":             `{"error": {"class": "GenericError", "desc": "no"}}`,
	})
	ctx := context.Background()
	if err := q.Execute(ctx, "stop", nil, nil); err != nil {
		t.Error(err)
	}
	var status struct{ Running bool }
	if err := q.Execute(ctx, "query-status", nil, &status); err != nil || !status.Running {
		t.Errorf("%+v, %v", status, err)
	}
	var e *Error
	if err := q.Execute(ctx, "cont", nil, nil); !errors.As(err, &e) || e.Desc != "no" {
		t.Errorf("an error of QEMU came as %v", err)
	}
}

// TestCancel: a QEMU that does not answer holds nobody beyond his context.
func TestCancel(t *testing.T) {
	q := serve(t, map[string]string{"qmp_capabilities": agreed})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := q.Execute(ctx, "stop", nil, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestGone(t *testing.T) {
	ours, theirs := net.Pipe()
	theirs.Close()
	if err := New(ours).Execute(context.Background(), "stop", nil, nil); err == nil {
		t.Error("a connection without QEMU gives no error")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{agreed, `{"QMP": {}}`, `{"error": {"class": "a", "desc": "b"}}`, `{"event": 1}`, "null", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil && (m.Return != nil || m.Error != nil || m.QMP != nil) {
			t.Errorf("%q: an error and a message", b)
		}
	})
}
