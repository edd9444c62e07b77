package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"ore/image"
)

// An error of a full disk is one where it arrives, too, and no other is.
func TestFailure(t *testing.T) {
	for _, c := range []struct {
		err  error
		full bool
	}{
		{fmt.Errorf("stage usr/bin/x: %w", unix.ENOSPC), true},
		{image.Full(unix.ENOSPC), true},
		{errors.New("tar: x: No space left on device"), false},
	} {
		b, err := json.Marshal(Failed(c.err))
		if err != nil {
			t.Fatal(err)
		}
		var m Message
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		got := m.Failure()
		if got.Error() != image.Full(c.err).Error() || errors.Is(got, unix.ENOSPC) != c.full || errors.Is(got, image.ErrFull) != c.full {
			t.Errorf("%v came as %v", c.err, got)
		}
	}
}
