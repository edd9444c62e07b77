package accounts

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Gone are the numbers of accounts that were removed.
type Gone struct{ users, groups map[uint32]bool }

// Concerns tells whether a file with these owners belongs to one of them.
func (g *Gone) Concerns(uid, gid uint32) bool { return g.users[uid] || g.groups[gid] }

// Remove removes users and groups from the tree that appears in the folder root.
func Remove(root string, accounts []string) (*Gone, error) {
	g := &Gone{users: map[uint32]bool{}, groups: map[uint32]bool{}}
	if len(accounts) == 0 {
		return g, nil
	}
	for i, name := range names {
		b, err := os.ReadFile(root + "/" + name)
		if err != nil {
			return nil, fmt.Errorf("remove accounts: %w", err)
		}
		text, ids, err := without(b, accounts, i < 2)
		if err != nil {
			return nil, fmt.Errorf("remove accounts: %s: %w", name, err)
		}
		for _, id := range ids {
			[]map[uint32]bool{g.users, g.groups}[i][uint32(id)] = true
		}
		if string(text) == string(b) {
			continue
		}
		if err := os.WriteFile(root+"/"+name, text, 0o644); err != nil {
			return nil, fmt.Errorf("remove accounts: %w", err)
		}
	}
	return g, nil
}

// without returns a file without the lines of accounts, and without them among
// the members of groups; if it has numbers, those of the lines.
func without(b []byte, accounts []string, numbered bool) (text []byte, ids []int, err error) {
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if !slices.Contains(accounts, f[0]) {
			if len(f) == 4 { // group and gshadow
				members := slices.DeleteFunc(strings.Split(f[3], ","), func(m string) bool { return slices.Contains(accounts, m) })
				f[3] = strings.Join(members, ",")
			}
			out.WriteString(strings.Join(f, ":") + "\n")
			continue
		}
		if numbered {
			e, err := entries([]byte(line))
			if err != nil {
				return nil, nil, err
			}
			ids = append(ids, e[0].id)
		}
	}
	return []byte(out.String()), ids, nil
}
