package install

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ore/image"
)

// A full disk is said once, with what to do, and nothing else is taken for one.
func TestFullDiskSaysWhatToDo(t *testing.T) {
	err := orFull(fmt.Errorf("unpack hello: %w", unix.ENOSPC))
	if !errors.Is(err, unix.ENOSPC) || strings.Count(orFull(err).Error(), "free some space") != 1 {
		t.Errorf("a full disk: %v", err)
	}
	if other := orFull(unix.EIO); errors.Is(other, image.ErrFull) {
		t.Errorf("another fault: %v", other)
	}
}
