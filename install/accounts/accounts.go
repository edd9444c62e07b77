// Package accounts gives the users and groups that packages made numbers that
// depend on their names alone, and not on the order in which the packages were
// configured.
//
// Debian's packages get the next free number (Policy 9.2.2): from adduser the
// lowest from 100 on, from systemd-sysusers the highest below 1000. Here the
// users that the base does not have get, in the order of their names, the
// numbers that these programs would give them then; so do the groups. numbers
// outside of the range were asked for by name and stay.
//
// The lines follow the base's in the order of their names, and the members of
// groups are sorted.
package accounts

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ore/install/tree"
)

// The range from which packages get numbers, and where it is divided between
// the program that begins below and the one that begins above.
const (
	lowest  = 100
	middle  = 500
	highest = 999
)

// files are the contents of the account files.
type files struct {
	Passwd, Group, Shadow, Gshadow []byte
}

// numbers says which number becomes which.
type numbers map[uint32]uint32

// Order returns what to do so that the accounts of a tree over the base are in
// order.
func Order(base, tree *tree.View) (*Change, error) {
	below, err := read(base)
	if err != nil {
		return nil, fmt.Errorf("order accounts: %w", err)
	}
	now, err := read(tree)
	if err != nil {
		return nil, fmt.Errorf("order accounts: %w", err)
	}
	return order(below, now)
}

func order(base, now files) (*Change, error) {
	users, err := renumber(base.Passwd, now.Passwd)
	if err != nil {
		return nil, fmt.Errorf("order accounts: passwd: %w", err)
	}
	groups, err := renumber(base.Group, now.Group)
	if err != nil {
		return nil, fmt.Errorf("order accounts: group: %w", err)
	}
	want := files{
		Passwd: lines(base.Passwd, now.Passwd, func(f []string) {
			change(f, 2, users)
			change(f, 3, groups)
		}),
		Group: lines(base.Group, now.Group, func(f []string) {
			change(f, 2, groups)
			sortMembers(f, 3)
		}),
		Shadow:  lines(base.Shadow, now.Shadow, func([]string) {}),
		Gshadow: lines(base.Gshadow, now.Gshadow, func(f []string) { sortMembers(f, 3) }),
	}
	return &Change{now: now, want: want, users: users, groups: groups}, nil
}

// entry is a line's name and number.
type entry struct {
	name string
	id   int
}

// entries reads names and numbers of a file like passwd(5) or group(5).
func entries(text []byte) ([]entry, error) {
	var list []entry
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 3 {
			return nil, fmt.Errorf("line %q has no number", line)
		}
		id, err := strconv.Atoi(f[2])
		if err != nil || id < 0 {
			return nil, fmt.Errorf("line %q has no number", line)
		}
		list = append(list, entry{f[0], id})
	}
	return list, nil
}

// renumber gives the names that base does not have new numbers.
func renumber(base, now []byte) (numbers, error) {
	old, err := entries(base)
	if err != nil {
		return nil, err
	}
	list, err := entries(now)
	if err != nil {
		return nil, err
	}
	known, taken := map[string]bool{}, map[int]bool{}
	for _, e := range old {
		known[e.name] = true
	}
	var fresh []entry
	for _, e := range list {
		if known[e.name] || e.id < lowest || e.id > highest {
			taken[e.id] = true
		} else {
			fresh = append(fresh, e)
		}
	}
	slices.SortFunc(fresh, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	n := numbers{}
	low, high := lowest, highest
	for _, e := range fresh {
		next, step := &low, 1
		if e.id >= middle {
			next, step = &high, -1
		}
		for taken[*next] {
			*next += step
		}
		taken[*next] = true
		if e.id != *next {
			n[uint32(e.id)] = uint32(*next)
		}
	}
	return n, nil
}

// change replaces the number in field i.
func change(f []string, i int, n numbers) {
	if len(f) <= i {
		return
	}
	id, err := strconv.ParseUint(f[i], 10, 32)
	if err != nil {
		return
	}
	if to, ok := n[uint32(id)]; ok {
		f[i] = strconv.FormatUint(uint64(to), 10)
	}
}

func sortMembers(f []string, i int) {
	if len(f) > i && f[i] != "" {
		members := strings.Split(f[i], ",")
		slices.Sort(members)
		f[i] = strings.Join(members, ",")
	}
}

// lines puts the lines of now in order: those that base has by name in base's
// order, then the others by name.
func lines(base, now []byte, edit func([]string)) []byte {
	rank := map[string]int{}
	for line := range strings.Lines(string(base)) {
		name, _, _ := strings.Cut(line, ":")
		rank[name] = len(rank) - 1<<30
	}
	var list [][]string
	for line := range strings.Lines(string(now)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		edit(f)
		list = append(list, f)
	}
	slices.SortStableFunc(list, func(a, b []string) int {
		return cmp.Or(cmp.Compare(rank[a[0]], rank[b[0]]), cmp.Compare(a[0], b[0]))
	})
	var out strings.Builder
	for _, f := range list {
		out.WriteString(strings.Join(f, ":") + "\n")
	}
	return []byte(out.String())
}
