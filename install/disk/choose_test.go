package disk

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ore"
)

// chosen returns the names of the devices that descriptions mean.
func chosen(t *testing.T, seen []Seen, disks ...ore.Match) ([]string, error) {
	t.Helper()
	var all []ore.Disk
	for _, m := range disks {
		all = append(all, ore.Disk{Match: m})
	}
	l := Layout{digest: Wish{Machine: "m"}.digest()}
	got, err := l.choose(all, seen)
	var names []string
	for _, s := range got {
		names = append(names, s.Name)
	}
	return names, err
}

func TestChoose(t *testing.T) {
	digest := Wish{Machine: "m"}.digest()
	marked := func(name string, index int) Seen {
		s := empty(name, gib)
		s.Mark = &Mark{State: Installed, Layout: digest, Index: index}
		return s
	}
	serial := func(s Seen, n string) Seen { s.Serial = n; return s }
	virtual := Seen{Device: Device{Name: "loop0", Size: gib, Sector: 512, Virtual: true}}
	sda, sdb, sdc := serial(empty("sda", gib), "a"), serial(empty("sdb", gib), "b"), serial(empty("sdc", 2*gib), "c")
	path := func(s string) ore.Match { return ore.Match{Path: "/dev/" + s} }
	large, a := ore.Match{Least: gib}, ore.Match{Serial: "a"}
	for _, c := range []struct {
		summary string
		seen    []Seen
		disks   []ore.Match
		want    string // names, or the error
	}{
		{"in the order of both", []Seen{sda, sdb}, []ore.Match{{}, {}}, "sda sdb"},
		{"one without a match takes what no other takes", []Seen{sda, sdb}, []ore.Match{{}, path("sda")}, "sdb sda"},
		{"also where the other's is a pattern", []Seen{sda, sdb}, []ore.Match{{}, large}, "sdb sda"},
		{"a wide match leaves the only disk of a narrow one", []Seen{sda, sdb}, []ore.Match{large, a}, "sdb sda"},
		{"over two others", []Seen{sda, sdb, sdc}, []ore.Match{{Most: gib}, large, a}, "sdb sdc sda"},
		{"a wide match leaves a disk that can be used without one", []Seen{virtual, sda}, []ore.Match{{}, path("*")}, "sda loop0"},
		{"the mark goes before all", []Seen{marked("sda", 1), sdb}, []ore.Match{{}, {}}, "sdb sda"},
		{"the mark goes before a match", []Seen{marked("sda", 0), sdb}, []ore.Match{{}, large}, "sda sdb"},
		{"a mark does not move", []Seen{marked("sda", 0), sdb}, []ore.Match{large, path("sda")}, "disk 2: none matches: /dev/sda is what disk 1 means, /dev/sdb is not /dev/sda: change match"},
		{"a mark that no longer matches", []Seen{marked("sda", 0), sdb}, []ore.Match{path("sdb"), {}}, "sdb sda"},
		{"two with the same mark", []Seen{marked("sda", 0), marked("sdb", 0)}, []ore.Match{{}, {}}, "sda sdb"},
		{"a mark of a description that is gone", []Seen{marked("sda", 7)}, []ore.Match{{}}, "sda"},
		{"too few", []Seen{sda}, []ore.Match{large, a}, "disk 2: none matches: /dev/sda is what disk 1 means: change match"},
		{"too few for one without", []Seen{sda}, []ore.Match{{}, a}, "disk 1: none matches: /dev/sda is what disk 2 means: change match"},
		{"none at all", nil, []ore.Match{{}}, "disk 1: none matches: the machine has no disk: change match"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			names, err := chosen(t, c.seen, c.disks...)
			if got := strings.Join(names, " "); err == nil && got != c.want || err != nil && !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %s %v\nwant %s", got, err, c.want)
			}
		})
	}
}

// Where there is a way to give each description a device of its own, it is found,
// and none is given twice.
func TestChooseFindsAWay(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		const n = 6
		order := rapid.Permutation([]int{0, 1, 2, 3, 4, 5}).Draw(r, "a way")
		seen, disks := make([]Seen, n), make([]ore.Match, n)
		for i := range seen {
			seen[i] = empty("sd"+string(rune('a'+i)), int64(i+1)*gib)
		}
		for i, s := range order {
			disks[i].Least = int64(rapid.IntRange(0, s+1).Draw(r, "least")) * gib
			disks[i].Most = int64(rapid.IntRange(s+1, n).Draw(r, "most")) * gib
		}
		names, err := chosen(t, seen, disks...)
		if err != nil {
			r.Fatal(err)
		}
		slices.Sort(names)
		if len(slices.Compact(names)) != n {
			r.Fatalf("devices %v", names)
		}
	})
}

// What the firmware adds to a disk is named where the disk is too small for it.
func TestWhatTheFirmwareAddsIsNamed(t *testing.T) {
	half := func(mount string) ore.Partition {
		return ore.Partition{Size: ore.Share{Percent: 50}, FileSystem: ore.FileSystem{FS: "ext4", Mount: mount}}
	}
	four := one(sized(gib, "ext4", "/"), sized(gib, "ext4", "/a"), sized(gib, "ext4", "/b"), sized(gib, "ext4", "/c"))
	four.Disks[0].Table = ore.MBR
	five := one(append(slices.Clone(four.Disks[0].Partitions), sized(gib, "ext4", "/d"))...)
	five.Disks[0].Table = ore.MBR
	for _, c := range []struct {
		summary  string
		storage  ore.Storage
		firmware Firmware
		want     string
	}{
		{"all that there is, without", one(half("/"), half("/home")), None, ""},
		{"all that there is", one(half("/"), half("/home")), BIOS, "disk /dev/sda: with the partition of 1 MiB that the firmware (bios) needs: its parts need 10239 MiB and there are 10238 MiB: use a larger disk, or smaller sizes"},
		{"four, without", four, None, ""},
		{"four", four, UEFI, "disk /dev/sda: with the partition of 256 MiB that the firmware (uefi) needs: 5 partitions, and mbr holds 4: use table: gpt, or fewer partitions"},
		{"five", five, BIOS, "disk /dev/sda: 5 partitions, and mbr holds 4: use table: gpt, or fewer partitions"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			_, err := Arrange(Wish{Storage: c.storage, Firmware: c.firmware}, []Seen{empty("sda", 10*gib)})
			if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}
