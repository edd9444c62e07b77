// Package fit says whether a machine can become what its recipe says, from what is
// known before anything is written: whether its file systems have room for what comes
// to lie on them, and whether the environment has what the machine's own set-up names.
//
// It refuses nothing that would fit, but where a tree has files that are zeros for the
// most part, which are counted whole: all else is taken for no more than it is. Of a
// finished image whose tree somebody has looked at ([Holds]) it is known what each file
// system gets. Of one that nobody has, only what all those get together on which
// packages have files. Where packages are installed, their tree is made on / first
// (package onto), whatever it is moved to.
package fit

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ore"
	"ore/image/export/ext4"
	"ore/install/disk"
	"ore/install/recipe"
)

// What a tree takes at least. Of a .deb's content no more is known than that it is not
// smaller: some are of what is compressed already. dpkg keeps books on all, and packages
// bring lists, caches and logs with them, which are the overhead.
const (
	overhead = 24 << 20
	// block is what no file system of those that are made shares between two files' contents
	// or folders: more of them give each a larger one.
	block = 512
	// inline is the longest target of a symbolic link for which ext4 needs no block.
	inline = 59
	// inodes is the part of an ext4 that its tables of inodes take: one of 256 bytes for
	// each 16 KiB (mke2fs.conf(5)), up to sizes that no tree fills.
	inodes = 64
)

// Mounts returns where a description's file systems are mounted, which is / alone where
// nothing is described.
func Mounts(s ore.Storage) []string {
	all := []string{"/"}
	add := func(f ore.FileSystem) {
		if f.Mount != "" && !slices.Contains(all, f.Mount) {
			all = append(all, f.Mount)
		}
	}
	for _, d := range s.Disks {
		for _, p := range d.Partitions {
			add(p.FileSystem)
		}
	}
	for _, a := range s.Arrays {
		add(a.FileSystem)
	}
	for _, v := range s.Volumes {
		add(v.FileSystem)
	}
	return all
}

// Holds returns how many bytes at least the files of a tree take of each file system,
// by where it is mounted.
func Holds(tree []ext4.Entry, mounts []string) map[string]int64 {
	holds := map[string]int64{}
	for _, e := range tree {
		on := owner(mounts, path.Join("/", e.Path))
		holds[on] += takes(e)
	}
	return holds
}

// takes returns how many bytes of blocks an entry has at least.
func takes(e ext4.Entry) int64 {
	switch {
	case e.Hardlink != "":
		return 0
	case e.Mode.IsRegular():
		return (e.Size + block - 1) / block * block
	case e.Mode.IsDir(), len(e.Link) > inline:
		return block
	}
	return 0
}

// owner returns the mount point below which a path is, or which it is.
func owner(mounts []string, name string) string {
	best := "/"
	for _, m := range mounts {
		if (name == m || strings.HasPrefix(name, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	return best
}

// Room refuses a layout that cannot hold the machine's tree. A recipe without a strategy
// is one of which only the environment is known. The error is a [recipe.Fault].
func Room(r recipe.Recipe, l disk.Layout) error {
	switch {
	case r.Finished() != nil && r.Holds != nil:
		return each(r.Holds, l)
	case r.Finished() != nil:
		return together(overhead+r.Finished().Bytes, r.Environment, l)
	}
	need := int64(overhead)
	for _, p := range r.Environment.Packages {
		need += p.Size
	}
	if r.Strategy == "" {
		return together(need, r.Environment, l)
	}
	for _, m := range mounted(l) {
		if m.Mount == "/" && room(m) < need {
			return refuse(m, need, ", where packages are installed before they are moved", ", or install from an image (--install-from image)")
		}
	}
	return nil
}

// each looks at every file system for itself.
func each(holds map[string]int64, l disk.Layout) error {
	for _, m := range mounted(l) {
		need := holds[m.Mount]
		if m.Mount == "/" {
			need += overhead
		}
		if room(m) < need {
			return refuse(m, need, "", "")
		}
	}
	return nil
}

func refuse(m disk.Made, need int64, why, or string) error {
	return recipe.Fault{Err: fmt.Errorf("disks: %s has room for %d MiB, and its files take %d MiB at least%s: give it more, or use a larger disk%s", m.Mount, room(m)>>20, (need+1<<20-1)>>20, why, or)}
}

// together looks at all on which packages have files, or the environment has.
func together(need int64, env ore.Environment, l disk.Layout) error {
	var have int64
	all := mounted(l)
	mounts := make([]string, len(all))
	for i, m := range all {
		mounts[i] = m.Mount
	}
	given := map[string]bool{}
	for _, f := range env.Files {
		given[owner(mounts, path.Join("/", f.Path))] = true
	}
	for _, m := range all {
		if packaged(m.Mount) || given[m.Mount] {
			have += room(m)
		}
	}
	if have < need {
		return recipe.Fault{Err: fmt.Errorf("disks: the machine's file systems have room for %d MiB of packages' files, which take %d MiB at least: use a larger disk, or give / more of it", have>>20, (need+1<<20-1)>>20)}
	}
	return nil
}

// packaged says whether packages may have files at a path or below it. What belongs to
// users and to who runs the machine is not theirs (Debian policy 9.1); /bin, /lib and
// /sbin are links, on which nothing is mounted.
func packaged(mount string) bool {
	if mount == "/usr/local" || mount == "/var/tmp" {
		return false
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(mount, "/"), "/")
	return slices.Contains([]string{"", "boot", "etc", "opt", "srv", "usr", "var"}, first)
}

// mounted returns the file systems that hold files.
func mounted(l disk.Layout) []disk.Made {
	return slices.DeleteFunc(l.FileSystems(), func(m disk.Made) bool { return m.Mount == "" || m.FS == "swap" })
}

// room is what a file system has for files at most.
func room(m disk.Made) int64 {
	if m.FS == "ext4" {
		return m.Bytes - m.Bytes/inodes
	}
	return m.Bytes
}
