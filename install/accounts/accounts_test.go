package accounts

import (
	"os"
	"path/filepath"
	"testing"

	"ore/install/sandbox"
	"ore/install/tree"
)

var base = files{
	Passwd: []byte("root:x:0:0::/root:/bin/sh\n_apt:x:100:65534::/:/bin/false\n"),
	Group:  []byte("root:x:0:\naudio:x:29:\n"), Shadow: []byte("root:*:1::::::\n_apt:!:1::::::\n"), Gshadow: []byte("root:*::\n"),
}

func after(passwd, group, shadow, gshadow string) files {
	return files{
		Passwd: append(append([]byte{}, base.Passwd...), passwd...), Group: append([]byte("root:x:0:\n"), group...),
		Shadow: append(append([]byte{}, base.Shadow...), shadow...), Gshadow: append(append([]byte{}, base.Gshadow...), gshadow...),
	}
}

// Two orders in which packages came give the same files.
func TestOrderOfPackages(t *testing.T) {
	a, err := order(base, after("z:x:101:101::/:\nb:x:102:102::/:\nnet:x:999:998::/:\nown:x:2000:2000::/:\n",
		"audio:x:29:z,b\nz:x:101:\nb:x:102:\njournal:x:999:\nnet:x:998:\nown:x:2000:\n", "z:!:1::::::\nb:!:1::::::\nnet:!::\nown:!::\n", "z:!::\nb:!::z,b\n"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := order(base, after("own:x:2000:2000::/:\nnet:x:999:999::/:\nb:x:101:101::/:\nz:x:102:102::/:\n",
		"audio:x:29:b,z\nown:x:2000:\nnet:x:999:\njournal:x:998:\nb:x:101:\nz:x:102:\n", "own:!::\nnet:!::\nb:!:1::::::\nz:!:1::::::\n", "b:!::b,z\nz:!::\n"))
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range a.want.all() {
		if y := b.want.all()[i]; string(*x) != string(*y) {
			t.Errorf("%s:\n%s\nand\n%s", names[i], *x, *y)
		}
	}
	const want = "root:x:0:0::/root:/bin/sh\n_apt:x:100:65534::/:/bin/false\nb:x:101:100::/:\nnet:x:999:998::/:\nown:x:2000:2000::/:\nz:x:102:101::/:\n"
	if got := string(a.want.Passwd); got != want {
		t.Errorf("passwd %q, want %q", got, want)
	}
	if !a.Concerns(101, 0) || a.Concerns(100, 0) || a.Concerns(2000, 2000) {
		t.Errorf("users %v, groups %v", a.users, a.groups)
	}
	if _, err := order(base, files{Passwd: []byte("x\n")}); err == nil {
		t.Error("a line without a number")
	}
}

// fixed says that every file has one owner, and notes what is asked for.
type fixed struct {
	st   sandbox.Stat
	last [2]int
}

func (f *fixed) Chown(_ string, uid, gid int) error          { f.last = [2]int{uid, gid}; return nil }
func (f *fixed) Mknod(_ string, _ uint32, _, _ uint32) error { return nil }
func (f *fixed) Owner(string) (sandbox.Stat, error)          { return f.st, nil }

var _ tree.Owners = (*fixed)(nil)

func TestOwn(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := &Change{users: numbers{101: 102}, groups: numbers{102: 101}}
	o := &fixed{st: sandbox.Stat{UID: 101, GID: 102, Mode: 0o640 | os.ModeSetgid}}
	if err := c.Own(o, name); err != nil || o.last != [2]int{102, 101} {
		t.Errorf("%v: owners %v", err, o.last)
	}
	if st, err := os.Stat(name); err != nil || st.Mode() != 0o640|os.ModeSetgid {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	o.st.UID, o.st.GID, o.last = 5, 5, [2]int{}
	if err := c.Own(o, name); err != nil || o.last != [2]int{} {
		t.Errorf("%v: a file of somebody else: %v", err, o.last)
	}
}

func FuzzOrder(f *testing.F) {
	f.Add("z:x:101:101::/:\n", "z:x:101:\n")
	f.Fuzz(func(t *testing.T, passwd, group string) {
		c, err := order(base, after(passwd, group, "", ""))
		if err != nil {
			return
		}
		again, err := order(base, c.want)
		if err != nil {
			t.Fatalf("its own result: %v", err)
		}
		if string(again.want.Passwd) != string(c.want.Passwd) || string(again.want.Group) != string(c.want.Group) {
			t.Fatalf("not settled: %q, then %q", c.want.Passwd, again.want.Passwd)
		}
	})
}
