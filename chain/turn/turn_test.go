package turn_test

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"ore/chain/turn"
)

func address(ip byte, port int) net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, ip), Port: port} }

var errWaits = errors.New("it has to wait")

// never waits for nothing: it says whether one has to.
func never(ready func() bool) error {
	if ready() {
		return nil
	}
	return errWaits
}

// What does not go first waits for what does, of other answers to the same host,
// until that has gone or is given up.
func TestYield(t *testing.T) {
	var all turn.Turns
	rest := all.Begin(address(1, 100), 0, false)
	if err := rest.Yield(never); err != nil {
		t.Errorf("alone: %v", err)
	}
	first := all.Begin(address(1, 200), 2, false)
	urgent, elsewhere := all.Begin(address(1, 300), 0, true), all.Begin(address(2, 100), 0, false)
	for what, c := range map[string]struct {
		turn *turn.Turn
		want error
	}{"the rest": {rest, errWaits}, "what is urgent": {urgent, nil}, "another host's": {elsewhere, nil}, "its own": {first, nil}} {
		if err := c.turn.Yield(never); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	first.Sent()
	if err := rest.Yield(never); err == nil {
		t.Error("a chunk that goes first is left, and the rest goes on")
	}
	first.Sent()
	first.End()
	if err := rest.Yield(never); err != nil {
		t.Errorf("nothing is left that goes first: %v", err)
	}
	all.Begin(address(1, 400), 5, false).End()
	if err := rest.Yield(never); err != nil {
		t.Errorf("what goes first was given up: %v", err)
	}
}

// Nobody yields for ever to a host that does not take what it asked for.
func TestYieldEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turn.Turns
		all.Begin(address(1, 100), 1, false)
		rest := all.Begin(address(1, 200), 0, false)
		begun := time.Now()
		err := rest.Yield(func(ready func() bool) error {
			for !ready() {
				<-time.After(time.Second) // in virtual time
			}
			return nil
		})
		if took := time.Since(begun); err != nil || took != turn.MaxYield {
			t.Errorf("yielded for %v: %v", took, err)
		}
		if err := rest.Yield(never); err != nil {
			t.Errorf("yields again: %v", err)
		}
	})
}
