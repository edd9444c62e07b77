package fit

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"ore"
	"ore/image/export/ext4"
	"ore/install/recipe"
)

// maxGroups bounds what is read of a tree's groups: some hundred thousand lines.
const maxGroups = 16 << 20

// System refuses a set-up that names what a finished tree does not have: a time zone,
// or a group. The error is a [recipe.Fault], if it is not of reading the tree.
func System(s ore.System, tree []ext4.Entry) error {
	find := func(name string) (ext4.Entry, bool) {
		i, ok := slices.BinarySearchFunc(tree, name, func(e ext4.Entry, name string) int { return strings.Compare(e.Path, name) })
		if !ok {
			return ext4.Entry{}, false
		}
		return tree[i], true
	}
	if z := s.TimeZone; z != "" {
		if e, ok := find(path.Join("usr/share/zoneinfo", z)); !ok || e.Mode.IsDir() {
			return NoZone(z)
		}
	}
	if !slices.ContainsFunc(s.Users, func(u ore.User) bool { return len(u.Groups) > 0 }) {
		return nil
	}
	e, ok := find("etc/group")
	if !ok || !e.Mode.IsRegular() {
		return nil // what makes accounts will say it
	}
	b, err := read(e, tree)
	if err != nil {
		return fmt.Errorf("read /etc/group of the image: %w", err)
	}
	return Groups(s.Users, b)
}

// read returns the content of a file, which may be another name of one.
func read(e ext4.Entry, tree []ext4.Entry) ([]byte, error) {
	if e.Hardlink != "" {
		i := slices.IndexFunc(tree, func(o ext4.Entry) bool { return o.Path == e.Hardlink })
		if i < 0 {
			return nil, &fs.PathError{Op: "open", Path: e.Hardlink, Err: fs.ErrNotExist}
		}
		e = tree[i]
	}
	f, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxGroups))
}

// NoZone is the error of a time zone that tzdata does not have.
func NoZone(zone string) error {
	return recipe.Fault{Err: fmt.Errorf("system: timezone: tzdata has no zone %s: use one that it has, such as Europe/Berlin", zone)}
}

// Groups refuses users in groups that are neither in a tree, whose group(5) is given, nor
// made with an account: each gets one of its own name (useradd(8), -U).
func Groups(users []ore.User, group []byte) error {
	known := map[string]bool{}
	for line := range bytes.Lines(group) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		known[string(name)] = true
	}
	for _, u := range users {
		for _, g := range u.Groups {
			if !known[g] {
				return recipe.Fault{Err: fmt.Errorf("system: user %s: groups: no package has a group %s: add the package that makes it, or leave the group out", u.Name, g)}
			}
		}
		known[u.Name] = true
	}
	return nil
}
