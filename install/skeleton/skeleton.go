// Package skeleton makes what a tree has that no package brings: what mmdebstrap
// makes, too.
package skeleton

import (
	"io/fs"
	"slices"

	"ore/install/dpkg"
	"ore/install/tree"
	"ore/squashfs"
)

// merged are the folders that suites with a merged /usr have as symbolic links
// into it, and the packages whose presence says that the suite is such a one.
// Newer suites ship the links in base-files, which finds them there.
var (
	mergedDirs     = [...]string{"bin", "sbin", "lib", "lib64"}
	mergedPackages = [...]string{"usrmerge", "usr-is-merged"}
)

// Make makes what must be there before the first of the base's packages.
func Make(v *tree.View, arch string, base []*dpkg.Package) error {
	if err := MergeUsr(v, base); err != nil {
		return err
	}
	for _, d := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d",
		dpkg.Dir + "/updates", dpkg.Dir + "/alternatives", dpkg.Dir + "/triggers", dpkg.Dir + "/info", "var/log/apt", "var/lib/apt/lists/partial", "var/cache/apt"} {
		if err := makeAll(v, d); err != nil {
			return err
		}
	}
	if err := v.Mkdir("tmp", 0o1777, 0, 0); err != nil {
		return err
	}
	if err := v.WriteFile("etc/fstab", 0o644, []byte("# UNCONFIGURED FSTAB FOR BASE SYSTEM\n")); err != nil {
		return err
	}
	return v.WriteFile(dpkg.Dir+"/arch", 0o644, []byte(arch+"\n"))
}

// MergeUsr makes the links of a merged /usr if the base has it.
func MergeUsr(v *tree.View, base []*dpkg.Package) error {
	if !slices.ContainsFunc(base, func(x *dpkg.Package) bool { return slices.Contains(mergedPackages[:], x.Name) }) {
		return nil
	}
	for _, d := range mergedDirs {
		if err := v.Mkdir("usr/"+d, 0o755, 0, 0); err != nil {
			return err
		}
		n := &tree.Node{Entry: squashfs.Entry{Path: d, Mode: fs.ModeSymlink | 0o777, Link: "usr/" + d}}
		if _, err := v.Put(n, ""); err != nil {
			return err
		}
	}
	return nil
}

// makeAll makes a folder and those above it.
func makeAll(v *tree.View, name string) error {
	if _, err := v.Place(name); err != nil {
		return err
	}
	return v.Mkdir(name, 0o755, 0, 0)
}

// Devices are the entries of /dev that a tree has when nothing is mounted there
// (FHS 3.0, 6.1.3), as mmdebstrap makes them. They are never on the build's
// disk, where an ordinary user could not make them.
func Devices(epoch int64) []tree.Node {
	var list []tree.Node
	add := func(name string, mode fs.FileMode, major, minor uint32, link string) {
		list = append(list, tree.Node{Entry: squashfs.Entry{
			Path: "dev/" + name, Mode: mode, Major: major, Minor: minor, Link: link, ModTime: epoch,
		}})
	}
	const char = fs.ModeDevice | fs.ModeCharDevice | 0o666
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{{"console", 5, 1}, {"full", 1, 7}, {"null", 1, 3}, {"ptmx", 5, 2}, {"random", 1, 8}, {"tty", 5, 0}, {"urandom", 1, 9}, {"zero", 1, 5}} {
		add(d.name, char, d.major, d.minor, "")
	}
	for name, link := range map[string]string{"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"} {
		add(name, fs.ModeSymlink|0o777, 0, 0, "/proc/self/fd"+link)
	}
	add("pts", fs.ModeDir|0o755, 0, 0, "")
	add("shm", fs.ModeDir|0o755, 0, 0, "")
	return list
}
