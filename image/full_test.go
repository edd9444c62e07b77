package image

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A full disk is said once, with what to do, and nothing else is taken for one.
func TestFullDiskSaysWhatToDo(t *testing.T) {
	err := Full(fmt.Errorf("unpack hello: %w", unix.ENOSPC))
	if !errors.Is(err, unix.ENOSPC) || strings.Count(Full(err).Error(), "free some space") != 1 {
		t.Errorf("a full disk: %v", err)
	}
	if other := Full(unix.EIO); errors.Is(other, ErrFull) {
		t.Errorf("another fault: %v", other)
	}
}
