package system

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ore/guest"
)

// inputFlags are of what a job mounts: its programs may be run, but what it says
// of devices and of whose rights a program has is a host user's word.
const inputFlags = unix.MS_RDONLY | noatime | nosuid | nodev

// MountInputs mounts what the job mounts, read-only, over what the image has
// there.
func (b *Machine) MountInputs() error {
	first := b.Identity.Layers
	if b.Identity.Modules {
		first++
	}
	for i, in := range b.Identity.Mounts {
		if err := mountInput(b.devices[first+i], in); err != nil {
			return fmt.Errorf("%s: %w", in.Path, err)
		}
	}
	return nil
}

func mountInput(device string, in guest.Mount) error {
	m := mount{source: device, target: in.Path, kind: "squashfs", flags: inputFlags}
	if !in.File {
		return m.do()
	}
	if err := makeFile(in.Path); err != nil {
		return err
	}
	m.target = Run + "/input"
	if err := m.do(); err != nil {
		return err
	}
	file := filepath.Join(m.target, guest.MountedFile)
	if err := (mount{source: file, target: in.Path, flags: unix.MS_BIND}).do(); err != nil {
		return err
	}
	// The file keeps its file system.
	if err := unix.Unmount(m.target, unix.MNT_DETACH); err != nil {
		return err
	}
	return os.Remove(m.target)
}

// makeFile makes an empty file to mount another over, unless one is there.
func makeFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return errors.New("a folder of the image: a file cannot be mounted over it: name a file in it")
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return writeFile(path, "")
}
