package vm

import (
	"fmt"
	"os"
	"path/filepath"
)

// WriteInitrd returns the path of an initramfs that is c.Initrd and then
// c.Extra: c.Initrd itself when there is nothing to append, else a new file in
// dir. The kernel unpacks one archive after another
// (Documentation/driver-api/early-userspace/buffer-format.rst), each of which
// starts at a multiple of four bytes. It is for drivers.
func (c Config) WriteInitrd(dir string) (string, error) {
	if len(c.Extra) == 0 {
		return c.Initrd, nil
	}
	in, err := os.Open(c.Initrd)
	if err != nil {
		return "", err
	}
	defer in.Close()
	path := filepath.Join(dir, "initrd")
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer out.Close()
	n, err := out.ReadFrom(in) // copy_file_range(2): no bytes pass through us, or none are copied at all
	if err != nil {
		return "", fmt.Errorf("copy %s: %w", c.Initrd, err)
	}
	pad := make([]byte, (4-n%4)%4, 4+len(c.Extra))
	if _, err := out.Write(append(pad, c.Extra...)); err != nil {
		return "", err
	}
	return path, out.Close()
}
