package keeping

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"ore/node"
)

// What a console says is shown once, in order, and following it ends with the
// machines, or with what is wrong while they run.
func TestFollow(t *testing.T) {
	gone := errors.New("gone")
	for _, runs := range []bool{false, true} {
		parts := []string{"one ", "two ", "", "three"}
		var out bytes.Buffer
		f := follower{machine: "m1", out: &out, said: func(_ context.Context, machine string, from int64) (node.Said, error) {
			if int64(out.Len()) != from || machine != "m1" {
				t.Errorf("asked for %s from byte %d, after %q", machine, from, &out)
			}
			if len(parts) == 0 {
				return node.Said{}, gone
			}
			text := parts[0]
			parts = parts[1:]
			return node.Said{Text: []byte(text), Next: from + int64(len(text))}, nil
		}}
		tick := make(chan time.Time, len(parts)+1)
		for range cap(tick) {
			tick <- time.Time{}
		}
		err := f.follow(t.Context(), tick, func() bool { return runs })
		if runs != errors.Is(err, gone) || !runs && err != nil || out.String() != "one two three" {
			t.Errorf("machines that run: %v: shown %q, %v", runs, &out, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&follower{}).follow(ended, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("when it is interrupted: %v", err)
	}
}
