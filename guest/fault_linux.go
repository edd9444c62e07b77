package guest

import (
	"errors"
	"syscall"
)

// isNameFault reports whether err is about the name that was asked for. The
// other errors, a full disk among them, concern every further name too.
func isNameFault(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.ENAMETOOLONG, syscall.EINVAL, syscall.EILSEQ, syscall.ENOTDIR,
		syscall.ELOOP, syscall.EEXIST, syscall.EISDIR, syscall.EMLINK,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
