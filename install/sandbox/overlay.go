package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// optionsLimit is the length of mount options that mount(2) takes: one page,
// with the final zero.
const optionsLimit = 4095

// Overlay mounts at target the folders lower, lowest first as in an image, and
// upper over them. work is an empty folder on upper's file system. A removed
// name is a char 0:0 in upper; folders are never redirected and data never
// left below (no redirect_dir, metacopy or index). The mount is volatile:
// nothing is synced, since an interrupted build is thrown away. The returned
// function unmounts it; nothing may be open in it.
func (s *Sandbox) Overlay(lower []string, upper, work, target string) (unmount func() error, err error) {
	// The mark by which the kernel refuses to reuse a volatile upper folder
	// after a crash. Ours are made and thrown away within one boot.
	if err := os.RemoveAll(filepath.Join(work, "work", "incompat")); err != nil {
		return nil, fmt.Errorf("overlay %s: %w", target, err)
	}
	o := overlayOptions(lower, upper, work, s.tier != Root)
	if len(o) > optionsLimit {
		return nil, fmt.Errorf("overlay %s: %d bytes of options, %d are possible: use shorter paths or fewer layers", target, len(o), optionsLimit)
	}
	if err := unix.Mount("overlay", target, "overlay", 0, o); err != nil {
		return nil, fmt.Errorf("overlay %s: mount %s: %w", target, o, err)
	}
	return func() error { return s.unmount(target) }, nil
}

// overlayOptions returns the options in the kernel's syntax, in which the
// highest layer comes first (Documentation/filesystems/overlayfs.rst).
func overlayOptions(lower []string, upper, work string, user bool) string {
	var dirs []string
	for i := len(lower) - 1; i >= 0; i-- {
		dirs = append(dirs, strings.ReplaceAll(escape(lower[i]), ":", `\:`))
	}
	o := "lowerdir=" + strings.Join(dirs, ":") +
		",upperdir=" + escape(upper) + ",workdir=" + escape(work) +
		",redirect_dir=nofollow,metacopy=off,index=off,xino=off,volatile"
	if user {
		o += ",userxattr"
	}
	return o
}

// escape protects what separates mount options.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, ",", `\,`).Replace(path)
}

// unmount ends an overlay, while no program is being started.
func (s *Sandbox) unmount(target string) error {
	s.starting.Lock()
	defer s.starting.Unlock()
	if err := unix.Unmount(target, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}
