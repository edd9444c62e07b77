package configure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ore"
	"ore/deb/control"
	"ore/install/disk"
	"ore/install/disk/table"
)

// kernels returns the versions of the tree's kernels, the newest last.
func (s *setup) kernels() []string {
	all, _ := fs.Glob(s.root.FS(), "boot/vmlinuz-*")
	for i := range all {
		all[i] = strings.TrimPrefix(all[i], "boot/vmlinuz-")
	}
	slices.SortFunc(all, control.Compare)
	return all
}

// loader makes the machine start on its own.
func (s *setup) loader(ctx context.Context) error {
	if s.Recipe.System.Loader != ore.GRUB {
		return nil
	}
	release, err := nameByUUID(s.Layout)
	if err != nil {
		return err
	}
	defer release()
	if err := s.initramfs(ctx); err != nil {
		return err
	}
	if err := s.put("etc/default/grub.d/ore.cfg", 0o644, grubConfig(s.Recipe.Console)); err != nil {
		return err
	}
	for _, argv := range s.grubInstall() {
		if err := s.call(ctx, "", argv...); err != nil {
			return err
		}
	}
	if err := s.call(ctx, "", "grub-mkconfig", "-o", "/boot/grub/grub.cfg"); err != nil {
		return err
	}
	b, err := s.root.ReadFile("boot/grub/grub.cfg")
	if err != nil {
		return err
	}
	if want := "root=UUID=" + root(s.Layout).UUID; !strings.Contains(string(b), want) {
		return fmt.Errorf("grub-mkconfig did not write %s: see whether a file of the job's changes how it names file systems", want)
	}
	return nil
}

// initramfs has each kernel's made: with the modules of this machine's file
// systems, and with what finds arrays and volumes. That is most of what configuring
// takes, so one that its package made and that starts any machine is left as it is.
func (s *setup) initramfs(ctx context.Context) error {
	if err := s.put("etc/initramfs-tools/conf.d/resume", 0o644, resume(s.Layout)); err != nil {
		return err
	}
	for _, v := range s.kernels() {
		do := "-c"
		if s.has("boot/initrd.img-" + v) {
			if s.plain() {
				continue
			}
			do = "-u"
		}
		if err := s.call(ctx, "", "update-initramfs", do, "-k", v); err != nil {
			return err
		}
	}
	return nil
}

// modulesLine is a setting of initramfs.conf(5).
var modulesLine = regexp.MustCompile(`(?m)^[ \t]*(?:export )?MODULES=["']?(\w*)`)

// plain says whether an initramfs that knows nothing of this machine starts it:
// one with the drivers of all disks and the usual file systems (MODULES=most, which
// is the default), where nothing is to be assembled and no system hibernates.
func (s *setup) plain() bool {
	if len(s.Layout.Arrays)+len(s.Layout.Groups) > 0 {
		return false
	}
	for _, m := range s.Layout.FileSystems() {
		if m.FS == "swap" {
			return false // it may hold a system that hibernates (initramfs.conf(5), RESUME)
		}
	}
	files, _ := fs.Glob(s.root.FS(), "etc/initramfs-tools/conf.d/*")
	most := false
	for _, f := range append(files, "etc/initramfs-tools/initramfs.conf") {
		b, err := s.root.ReadFile(f)
		if err != nil {
			return false
		}
		for _, m := range modulesLine.FindAllStringSubmatch(string(b), -1) {
			if m[1] != "most" {
				return false
			}
			most = true
		}
	}
	return most
}

// grubInstall returns the commands that put GRUB where the firmware finds it. A
// BIOS may start from each of the disks that hold what is needed. UEFI looks in
// a place for removable disks when its memory names nothing, and whether it
// does is not for an installer to say: the disk may go to another machine.
func (s *setup) grubInstall() [][]string {
	modules := "--modules=" + strings.Join(readers(s.Layout), " ")
	if s.Recipe.System.Firmware == ore.UEFI {
		argv := []string{"grub-install", "--target=x86_64-efi", "--efi-directory=/boot/efi", "--bootloader-id=debian", "--no-nvram", "--recheck", modules}
		return [][]string{argv, append(slices.Clone(argv), "--removable")}
	}
	var all [][]string
	for _, d := range s.Layout.Disks {
		if starts(d) {
			all = append(all, []string{"grub-install", "--target=i386-pc", "--no-floppy", "--recheck", modules, d.Path()})
		}
	}
	return all
}

// readers returns GRUB's modules for the disks' tables. It would find out by itself,
// but knows a partition by what its device is called, and not what User Mode Linux
// calls one (ubda2): its core would then see a disk without partitions.
func readers(l disk.Layout) []string {
	var all []string
	for _, d := range l.Disks {
		module := "part_gpt"
		if d.Table.Kind == table.MBR {
			module = "part_msdos"
		}
		if !slices.Contains(all, module) {
			all = append(all, module)
		}
	}
	return all
}

// starts says whether a BIOS may start from a disk: whether it has room for
// GRUB's core image and what that reads.
func starts(d disk.Placed) bool {
	if d.Table.Kind == table.MBR {
		return slices.ContainsFunc(d.Parts, func(m disk.Made) bool {
			return m.Mount == "/" || m.Mount == "/boot" || m.Array != "" || m.Group != ""
		})
	}
	bios, _ := table.ParseGUID(table.TypeBIOS)
	return slices.ContainsFunc(d.Table.Parts, func(p table.Part) bool { return p.Type == bios })
}

// byUUID is where udev names file systems, and where grub-mkconfig looks whether
// the kernel will find them so. An installer has no udev.
const byUUID = "/dev/disk/by-uuid"

// nameByUUID makes the links that lack. The function that it returns removes them.
func nameByUUID(l disk.Layout) (release func(), err error) {
	var made []string
	release = func() {
		for _, name := range made {
			os.Remove(name) // it is only a name, in memory
		}
	}
	if err := os.MkdirAll(byUUID, 0o755); err != nil {
		return nil, err
	}
	for _, m := range l.FileSystems() {
		name := filepath.Join(byUUID, m.UUID)
		switch err := os.Symlink(m.Device, name); {
		case err == nil:
			made = append(made, name)
		case !errors.Is(err, fs.ErrExist):
			release()
			return nil, err
		}
	}
	return release, nil
}
