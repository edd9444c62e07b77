package engine

import (
	"errors"
	"fmt"
	"testing"

	"ore/node/agent"
)

// TestAHostIsNamedOnce has a host blamed for what names it, and for what does not.
func TestAHostIsNamedOnce(t *testing.T) {
	lost := fmt.Errorf("host : %w: no answer", agent.ErrLost)
	for _, c := range []struct {
		err  error
		want string
	}{
		{lost, "host : the host is lost: no answer"},
		{errors.New("no space left on device"), "host : no space left on device"},
	} {
		h := &host{agent: &agent.Client{}}
		h.blame(c.err)
		h.blame(errors.New("its effect"))
		if got := h.fault(); got.Error() != c.want || !errors.Is(got, c.err) {
			t.Errorf("%v, want %s", got, c.want)
		}
	}
}
