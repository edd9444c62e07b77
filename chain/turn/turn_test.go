package turn_test

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"ore/chain/turn"
)

func address(ip byte, port int) net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, ip), Port: port} }

// What does not go first waits for what does, of other answers to the same host,
// until that has gone or is given up.
func TestYield(t *testing.T) {
	var all turn.Turns
	rest := all.Begin(address(1, 100), 0, false)
	if rest.Yields() {
		t.Error("it yields though nobody else is there")
	}
	first := all.Begin(address(1, 200), 2, false)
	urgent, elsewhere := all.Begin(address(1, 300), 0, true), all.Begin(address(2, 100), 0, false)
	for what, c := range map[string]struct {
		turn *turn.Turn
		want bool
	}{"the rest": {rest, true}, "what is urgent": {urgent, false}, "another host's": {elsewhere, false}, "its own": {first, false}} {
		if got := c.turn.Yields(); got != c.want {
			t.Errorf("%s yields: %v, want %v", what, got, c.want)
		}
	}
	first.Sent()
	if !rest.Yields() {
		t.Error("a chunk that goes first is left, and the rest goes on")
	}
	first.Sent()
	first.End()
	if rest.Yields() {
		t.Error("nothing is left that goes first, and the rest waits")
	}
	all.Begin(address(1, 400), 5, false).End()
	if rest.Yields() {
		t.Error("what goes first was given up, and the rest waits")
	}
}

// Nobody yields for ever to a host that does not take what it asked for. What an
// answer is sending itself meanwhile does not count.
func TestYieldEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turn.Turns
		all.Begin(address(1, 100), 1, false)
		rest := all.Begin(address(1, 200), 0, false)
		yielded := time.Duration(0)
		for i := 0; rest.Yields(); i++ {
			<-time.After(turn.MaxYield / 10) // in virtual time
			yielded += turn.MaxYield / 10
			if i == 4 {
				if !rest.Yields() {
					t.Fatal("it ends too early")
				}
				rest.Goes()
				<-time.After(2 * turn.MaxYield)
			}
		}
		if yielded != turn.MaxYield {
			t.Errorf("yielded for %v", yielded)
		}
		if rest.Yields() {
			t.Error("yields again")
		}
	})
}
