package sandbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ore/install/sandbox/seccomp"

	"golang.org/x/sys/unix"
)

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("33:33"))
	f.Add([]byte("-:- c 1:3"))
	f.Add([]byte("0:6 b 7:0"))
	f.Add([]byte("0:6 b 7"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			return
		}
		text := r.append(nil)
		if again, err := parseRecord(text); err != nil || again != r || len(text) > recordSize {
			t.Errorf("%q: %v became %q", b, r, text)
		}
	})
}

func FuzzParseRow(f *testing.F) {
	f.Add([]byte("12 1700000000000000001 5 33:33"))
	f.Add([]byte("12 -1 5 33:33 c 1:3"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, r, err := parseRow(b)
		if err != nil && r.rec.device != 0 && len(b) == 0 {
			t.Errorf("%q: %v", b, r)
		}
	})
}

// TestTable shows what two processes that share a table, and inodes that are
// used again, get to see.
func TestTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "owners")
	one, err := openTable(path)
	if err != nil {
		t.Fatal(err)
	}
	defer one.close()
	two, err := openTable(path)
	if err != nil {
		t.Fatal(err)
	}
	defer two.close()
	if !one.empty() {
		t.Error("a new table is not empty")
	}
	file := func(ino uint64, born, modified int64) *unix.Statx_t {
		return &unix.Statx_t{Ino: ino, Btime: unix.StatxTimestamp{Sec: born}, Mtime: unix.StatxTimestamp{Sec: modified}}
	}
	if err := errors.Join(
		one.add(file(7, 100, 100), record{uid: 1, gid: 1}),
		two.add(file(8, 100, 100), record{uid: 2, gid: 2}),
		one.add(file(7, 100, 100), record{uid: 3, gid: 3}),
	); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		summary string
		st      *unix.Statx_t
		uid     int
		ok      bool
	}{
		{"the last record counts", file(7, 100, 150), 3, true},
		{"a record of the other process", file(8, 100, 100), 2, true},
		{"copied up: born anew, not modified", file(8, 200, 100), 2, true},
		{"the inode is used again", file(8, 200, 200), 0, false},
		{"another inode", file(9, 100, 100), 0, false},
	} {
		for _, table := range []*table{one, two} {
			if r, ok := table.find(c.st); ok != c.ok || r.uid != c.uid {
				t.Errorf("%s: %v %v", c.summary, r, ok)
			}
		}
	}
	if err := os.WriteFile(path, []byte("nonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openTable(path); err == nil {
		t.Error("nonsense was read as a table")
	}
}

func TestOverlayOptions(t *testing.T) {
	got := overlayOptions([]string{"/a:b", "/c,d"}, `/u\p`, "/w", true)
	want := `lowerdir=/c\,d:/a\:b,upperdir=/u\\p,workdir=/w,redirect_dir=nofollow,metacopy=off,index=off,xino=off,volatile,userxattr`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestChange compares the rules of changing ids with the manual pages.
func TestChange(t *testing.T) {
	me, other, root := 5, 6, 0
	for _, c := range []struct {
		summary    string
		number     int32
		have, want [3]int
		root       bool
		got        [3]int
		err        error
	}{
		{"root becomes a user for good", unix.SYS_SETUID, [3]int{}, [3]int{me}, true, [3]int{me, me, me}, nil},
		{"a user can not become root", unix.SYS_SETUID, [3]int{me, me, me}, [3]int{root}, false, [3]int{me, me, me}, unix.EPERM},
		{"a user goes back to the saved id", unix.SYS_SETUID, [3]int{me, me, root}, [3]int{root}, false, [3]int{me, root, root}, nil},
		{"setreuid of the effective id saves it", unix.SYS_SETREUID, [3]int{}, [3]int{-1, me}, true, [3]int{root, me, me}, nil},
		{"setreuid of both", unix.SYS_SETREGID, [3]int{}, [3]int{me, me}, true, [3]int{me, me, me}, nil},
		{"setresuid keeps what is -1", unix.SYS_SETRESUID, [3]int{}, [3]int{-1, me, -1}, true, [3]int{root, me, root}, nil},
		{"a user takes one of its three ids", unix.SYS_SETRESUID, [3]int{root, me, other}, [3]int{other, root, me}, false, [3]int{other, root, me}, nil},
		{"a user takes none else", unix.SYS_SETRESGID, [3]int{me, me, me}, [3]int{me, other, me}, false, [3]int{me, me, me}, unix.EPERM},
		{"an id that does not fit", unix.SYS_SETUID, [3]int{}, [3]int{70000}, true, [3]int{}, unix.EINVAL},
	} {
		got, err := change(c.number, c.have, c.want, c.root)
		if got != c.got || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v; want %v, %v", c.summary, got, err, c.got, c.err)
		}
	}
}

func FuzzPackIDs(f *testing.F) {
	f.Add(uint16(0), uint16(0), uint16(0), false)
	f.Add(uint16(65534), uint16(1), uint16(0), true)
	f.Add(uint16(0), uint16(0), uint16(0), true)
	f.Fuzz(func(t *testing.T, a, b, c uint16, keeps bool) {
		id := [3]int{int(a), int(b), int(c)}
		if slices.Contains(id[:], 0xffff) {
			return // no id: -1
		}
		if got, kept := unpackIDs(packIDs(id, keeps)); got != id || kept != keeps {
			t.Errorf("%v, %v became %v, %v", id, keeps, got, kept)
		}
	})
}

func FuzzWithoutRecord(f *testing.F) {
	f.Add([]byte("user.a\x00user.ore.owner\x00user.b\x00"))
	f.Fuzz(func(t *testing.T, list []byte) {
		got := withoutRecord(list)
		if slices.Contains(names(got), recordName) {
			t.Errorf("%q became %q", list, got)
		}
		if !slices.Contains(names(list), recordName) && !bytes.Equal(list, got) {
			t.Errorf("%q became %q", list, got)
		}
	})
}

func names(list []byte) []string {
	var n []string
	for _, b := range bytes.SplitAfter(list, []byte{0}) {
		if name, ok := bytes.CutSuffix(b, []byte{0}); ok {
			n = append(n, string(name))
		}
	}
	return n
}

// TestRules says, for each tier, which calls are left to the kernel whatever
// their arguments are.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		tier   Tier
		number int
		caught bool
	}{
		{Root, unix.SYS_FSYNC, true}, {Root, unix.SYS_CHOWN, false}, {Root, unix.SYS_MKNOD, false},
		{SubIDs, unix.SYS_SYNC, true}, {SubIDs, unix.SYS_MKNODAT, true}, {SubIDs, unix.SYS_CHOWN, false}, {SubIDs, unix.SYS_NEWFSTATAT, false},
		{Single, unix.SYS_MSYNC, true}, {Single, unix.SYS_FCHOWNAT, true}, {Single, unix.SYS_STATX, true}, {Single, unix.SYS_SETGROUPS, true},
		{Single, unix.SYS_READ, false}, {Single, unix.SYS_EXECVE, false}, {Single, unix.SYS_RENAME, false},
	} {
		got := slices.ContainsFunc(c.tier.rules(), func(r seccomp.Rule) bool { return r.Number == c.number })
		if got != c.caught {
			t.Errorf("%s, call %d: caught %v, want %v", c.tier, c.number, got, c.caught)
		}
	}
}
