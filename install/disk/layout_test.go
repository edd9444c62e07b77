package disk

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ore"
	"ore/install/disk/signature"
	"ore/install/disk/table"
)

const mib, gib = 1 << 20, 1 << 30

func empty(name string, size int64) Seen {
	return Seen{Device: Device{Name: name, Size: size, Sector: 512}}
}

func rest(fs, mount string) ore.Partition {
	return ore.Partition{Size: ore.Share{Rest: true}, FileSystem: ore.FileSystem{FS: fs, Mount: mount}}
}

func sized(bytes int64, fs, mount string) ore.Partition {
	return ore.Partition{Size: ore.Share{Bytes: bytes}, FileSystem: ore.FileSystem{FS: fs, Mount: mount}}
}

func one(parts ...ore.Partition) ore.Storage {
	return ore.Storage{Disks: []ore.Disk{{Partitions: parts}}}
}

// lines writes a layout's partitions as text: first sector, sectors, type, use.
func lines(l Layout) []string {
	var all []string
	for _, d := range l.Disks {
		for i, p := range d.Table.Parts {
			m := d.Parts[i]
			all = append(all, fmt.Sprintf("%s %d+%d %.8s%.2x %s %s%s%s", m.Device, p.Start, p.Sectors, p.Type, p.Code, m.FS, m.Mount, m.Array, m.Group))
		}
	}
	return all
}

func TestArrange(t *testing.T) {
	issue := one(rest("ext4", "/"), sized(512*mib, "swap", ""),
		ore.Partition{Size: ore.Share{Percent: 20}, FileSystem: ore.FileSystem{FS: "xfs", Mount: "/scratch"}})
	mbr := one(rest("ext4", "/"))
	mbr.Disks[0].Table = ore.MBR
	for _, c := range []struct {
		summary string
		wish    Wish
		disk    Seen
		want    []string
	}{
		{"nothing said, kernel started directly", Wish{}, empty("vda", gib), []string{"/dev/vda1 2048+2093056 0fc63daf00 ext4 /"}},
		{"nothing said, BIOS", Wish{Firmware: BIOS}, empty("sda", gib),
			[]string{"/dev/sda1 2048+2048 2168614800  ", "/dev/sda2 4096+2091008 0fc63daf00 ext4 /"}},
		{"nothing said, UEFI", Wish{Firmware: UEFI}, empty("nvme0n1", gib),
			[]string{"/dev/nvme0n1p1 2048+524288 c12a732800 vfat /boot/efi", "/dev/nvme0n1p2 526336+1568768 0fc63daf00 ext4 /"}},
		{"4096-byte sectors", Wish{}, Seen{Device: Device{Name: "sda", Size: gib, Sector: 4096}}, []string{"/dev/sda1 256+261632 0fc63daf00 ext4 /"}},
		{"the issue's", Wish{Storage: issue}, empty("sda", 20*gib), []string{
			"/dev/sda1 2048+32503808 0fc63daf00 ext4 /", "/dev/sda2 32505856+1048576 0657fd6d00 swap ", "/dev/sda3 33554432+8386560 0fc63daf00 xfs /scratch"}},
		{"MBR reaches the last MiB", Wish{Storage: mbr, Firmware: BIOS}, empty("sda", gib), []string{"/dev/sda1 2048+2095104 0000000083 ext4 /"}},
	} {
		t.Run(c.summary, func(t *testing.T) {
			l, err := Arrange(c.wish, []Seen{c.disk})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, lines(l)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	for _, c := range []struct {
		summary string
		wish    Wish
		size    int64
		want    string
	}{
		{"fixed sizes", Wish{Storage: one(sized(2*gib, "ext4", "/"))}, gib, "2048 MiB do not fit into 1022 MiB"},
		{"together", Wish{Storage: one(sized(600*mib, "ext4", "/"), sized(600*mib, "ext4", "/b"))}, gib, "its parts need 1200 MiB and there are 1022 MiB"},
		{"nothing left", Wish{Storage: one(sized(1022*mib, "ext4", "/"), rest("swap", ""))}, gib, "its parts need 1023 MiB and there are 1022 MiB"},
		{"xfs", Wish{Storage: one(sized(100*mib, "xfs", "/data"), rest("ext4", "/"))}, gib, "xfs for /data on /dev/sda1: it gets 100 MiB and needs 300 MiB"},
		{"tiny", Wish{}, 2 * mib, "its parts need 1 MiB and there are 0 bytes"},
		{"tinier", Wish{}, 512, "its parts need 1 MiB and there are 0 bytes"},
		{"match", Wish{Storage: ore.Storage{Disks: []ore.Disk{{Match: ore.Match{Least: 2 * gib}, Partitions: []ore.Partition{rest("ext4", "/")}}}}}, gib,
			"disk 1: none matches: /dev/sda has 1024 MiB: change match"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			_, err := Arrange(c.wish, []Seen{empty("sda", c.size)})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

// stacked describes LVM over RAID over two disks, and a stripe.
func stacked() ore.Storage {
	member := func(array string, bytes int64) ore.Partition {
		return ore.Partition{Size: ore.Share{Bytes: bytes}, Array: array}
	}
	return ore.Storage{
		Disks: []ore.Disk{
			{Partitions: []ore.Partition{member("safe", 2*gib), member("fast", gib)}},
			{Partitions: []ore.Partition{member("safe", 2*gib), member("fast", gib+mib)}},
		},
		Arrays: []ore.RAID{{Name: "safe", Level: 1, Group: "vg"}, {Name: "fast", Level: 0, FileSystem: ore.FileSystem{FS: "xfs", Mount: "/scratch"}}},
		Volumes: []ore.Volume{
			{Group: "vg", Name: "root", Size: ore.Share{Rest: true}, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/"}},
			{Group: "vg", Name: "home", Size: ore.Share{Percent: 25}, FileSystem: ore.FileSystem{FS: "btrfs", Mount: "/home"}},
		},
	}
}

func TestArraysAndGroups(t *testing.T) {
	l, err := Arrange(Wish{Storage: stacked(), Firmware: BIOS}, []Seen{empty("sda", 10*gib), empty("sdb", 10*gib)})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{
		"/dev/sda1 2048+2048 2168614800  ", "/dev/sda2 4096+4194304 a19d880f00  safe", "/dev/sda3 4198400+2097152 a19d880f00  fast",
		"/dev/sdb1 2048+2048 2168614800  ", "/dev/sdb2 4096+4194304 a19d880f00  safe", "/dev/sdb3 4198400+2099200 a19d880f00  fast",
	}, lines(l)); d != "" {
		t.Error("both disks of the mirror that holds / can start the machine:", d)
	}
	if l.Arrays[0].Bytes != 2*gib-mib || l.Arrays[1].Bytes != gib-mib+gib {
		t.Errorf("arrays of %d and %d bytes", l.Arrays[0].Bytes, l.Arrays[1].Bytes)
	}
	g := l.Groups[0]
	if g.Extents != 511 || g.Volumes[0].Extents != 384 || g.Volumes[1].Extents != 127 {
		t.Errorf("group of %d extents: %d and %d", g.Extents, g.Volumes[0].Extents, g.Volumes[1].Extents)
	}
	if g.Members[0] != "/dev/md0" || g.Volumes[0].Device != "/dev/mapper/vg-root" {
		t.Error(g)
	}
	var order []string
	for _, m := range l.FileSystems() {
		order = append(order, m.Mount)
	}
	if d := cmp.Diff([]string{"/", "/home", "/scratch"}, order); d != "" {
		t.Error(d)
	}
}

func TestCapacity(t *testing.T) {
	for _, c := range []struct {
		level   int
		members []int64
		want    int64
	}{
		{1, []int64{100*mib + 1, 101 * mib}, 99*mib + 1},
		{0, []int64{100*mib + 1000, 200 * mib}, 99*mib + 199*mib},
		{5, []int64{100 * mib, 100 * mib, 100 * mib, 120 * mib}, 3 * 99 * mib},
		{6, []int64{100 * mib, 100 * mib, 100 * mib, 120 * mib}, 2 * 99 * mib},
		{10, []int64{100 * mib, 100 * mib, 100 * mib, 120 * mib}, 2 * 99 * mib},
		{10, []int64{2*mib + chunk, 2*mib + chunk, 2*mib + chunk}, 4 * chunk},
		{5, []int64{mib, mib, mib}, 0},
	} {
		if got := capacity(c.level, c.members); got != c.want {
			t.Errorf("level %d of %v: %d, want %d", c.level, c.members, got, c.want)
		}
	}
}

// A layout depends on the description and the machine, and on nothing else.
func TestIdentifiersAreTheMachines(t *testing.T) {
	at := func(machine, device string) Layout {
		l, err := Arrange(Wish{Machine: machine}, []Seen{empty(device, gib)})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	a, again, other := at("m0", "sda"), at("m0", "vdb"), at("m1", "sda")
	if a.Disks[0].Table.ID != again.Disks[0].Table.ID || a.Disks[0].Parts[0].UUID != again.Disks[0].Parts[0].UUID {
		t.Error("the same machine got other identifiers")
	}
	if a.Disks[0].Table.ID == other.Disks[0].Table.ID || a.Disks[0].Parts[0].UUID == other.Disks[0].Parts[0].UUID {
		t.Error("two machines share identifiers")
	}
}

// Whatever is described, what comes out fits, or is refused.
func TestLayoutsFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(0, 4*gib).Draw(t, "size")
		sector := rapid.SampledFrom([]int64{512, 4096}).Draw(t, "sector")
		var parts []ore.Partition
		for range rapid.IntRange(1, 6).Draw(t, "parts") {
			s := ore.Share{Rest: true}
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				s = ore.Share{Percent: rapid.IntRange(1, 60).Draw(t, "percent")}
			case 1:
				s = ore.Share{Bytes: rapid.Int64Range(1, gib).Draw(t, "bytes")}
			}
			parts = append(parts, ore.Partition{Size: s, FileSystem: ore.FileSystem{FS: "ext4"}})
		}
		s := one(parts...)
		s.Disks[0].Table = rapid.SampledFrom([]ore.Table{ore.GPT, ore.MBR}).Draw(t, "table")
		l, err := Arrange(Wish{Storage: s, Firmware: rapid.SampledFrom([]Firmware{None, BIOS, UEFI}).Draw(t, "firmware")},
			[]Seen{{Device: Device{Name: "sda", Size: size, Sector: sector}}})
		if err != nil {
			return
		}
		d := l.Disks[0]
		if err := d.Table.Check(); err != nil {
			t.Fatal(err)
		}
		for i, p := range d.Table.Parts {
			if p.Start*sector%grain != 0 || p.Sectors*sector%grain != 0 || p.Sectors*sector != d.Parts[i].Bytes {
				t.Fatalf("partition %d: %+v", i+1, p)
			}
			if want := parts[len(parts)-1]; i == len(d.Parts)-1 && d.Parts[i].Bytes < want.Size.Bytes {
				t.Fatalf("%d bytes instead of %d", d.Parts[i].Bytes, want.Size.Bytes)
			}
		}
	})
}

func TestRefuse(t *testing.T) {
	other := &table.Table{Kind: table.GPT, ID: table.GUID{1}, Parts: []table.Part{{Start: 2048, Sectors: 2048}}}
	w := Wish{Machine: "m"}
	plain, err := Arrange(w, []Seen{empty("sda", gib)})
	if err != nil {
		t.Fatal(err)
	}
	own := plain.Disks[0].Table
	mark := func(s State) *Mark { return &Mark{State: s, Layout: w.digest(), Table: own.ID} }
	for _, c := range []struct {
		summary string
		change  func(*Seen)
		wipe    bool
		want    string
		state   State
	}{
		{"empty", func(*Seen) {}, false, "", Nothing},
		{"read-only", func(s *Seen) { s.ReadOnly = true }, true, "disk /dev/sda: it is read-only: remove", Nothing},
		{"mounted", func(s *Seen) { s.Busy = "mounted on /data" }, true, "it is in use, mounted on /data: choose", Nothing},
		{"somebody's", func(s *Seen) {
			s.Holds = Holds{Table: other, Parts: []signature.Found{{Kind: "ext4", Label: "photos"}}}
		}, false,
			`disk /dev/sda: it holds 1 partition (ext4 "photos"): set wipe: true`, Nothing},
		{"somebody's, to be wiped", func(s *Seen) { s.Holds = Holds{Table: other} }, true, "", Nothing},
		{"unknown bytes", func(s *Seen) { s.Whole = &signature.Found{Kind: "data"} }, false, "it holds data: set wipe", Nothing},
		{"a damaged table", func(s *Seen) { s.Damaged = "x" }, false, "it holds a damaged partition table", Nothing},
		{"a table without partitions", func(s *Seen) { s.Table = &table.Table{ID: table.GUID{1}} }, false, "", Nothing},
		{"ours, begun, no table yet", func(s *Seen) { s.Mark = mark(Begun) }, false, "", Begun},
		{"ours, begun", func(s *Seen) { s.Mark, s.Table = mark(Begun), &own }, false, "", Begun},
		{"begun, but another's since", func(s *Seen) { s.Mark, s.Table = mark(Begun), other }, false, "it holds 1 partition", Begun},
		{"begun for another layout", func(s *Seen) { s.Mark = mark(Begun); s.Mark.Layout[0]++; s.Table = &own }, false, "", Nothing},
		{"ours, formatted", func(s *Seen) { s.Mark, s.Table = mark(Formatted), &own }, false, "", Formatted},
		{"another layout, formatted", func(s *Seen) { s.Mark, s.Table = mark(Formatted), &own; s.Mark.Layout[0]++ }, false, "", Nothing},
		{"another layout, installed", func(s *Seen) { s.Mark, s.Table = mark(Installed), &own; s.Mark.Layout[0]++ }, false, "a machine is installed there", Nothing},
		{"installed", func(s *Seen) { s.Mark, s.Table = mark(Installed), &own }, false, "a machine is installed there (1 partition): start it", Installed},
		{"installed, but another's since", func(s *Seen) { s.Mark, s.Table = mark(Installed), other }, false, "it holds 1 partition", Nothing},
	} {
		t.Run(c.summary, func(t *testing.T) {
			s := empty("sda", gib)
			c.change(&s)
			l, err := Arrange(w, []Seen{s})
			if err != nil {
				t.Fatal(err)
			}
			l.Disks[0].Wipe = c.wipe
			if got := l.State(); got != c.state {
				t.Errorf("state %v, want %v", got, c.state)
			}
			if err := l.Refuse(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

// Disks that changed their names keep their parts.
func TestMarkedDisksKeepTheirPlace(t *testing.T) {
	w := Wish{Storage: stacked()}
	a, b := empty("sda", 10*gib), empty("sdb", 10*gib)
	a.Mark = &Mark{State: Installed, Layout: w.digest(), Index: 1}
	b.Mark = &Mark{State: Installed, Layout: w.digest(), Index: 0}
	l, err := Arrange(w, []Seen{a, b})
	if err != nil || l.Disks[0].Name != "sdb" || l.Disks[1].Name != "sda" {
		t.Error(l.Disks[0].Name, err)
	}
}

func TestDevices(t *testing.T) {
	root := t.TempDir()
	put := func(path, text string) {
		p := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	disk := func(name, size string) {
		put("sys/block/"+name+"/size", size+"\n")
		put("sys/block/"+name+"/queue/logical_block_size", "512\n")
		put("sys/block/"+name+"/ro", "0\n")
	}
	for _, n := range []string{"sdb", "sda", "sdaa", "vda", "sr0", "dm-0", "md0", "ram0", "loop0"} {
		disk(n, "2097152")
	}
	disk("sdc", "0") // a card reader without a card
	put("sys/block/sda/device/model", "QEMU HARDDISK   \n")
	put("sys/block/sda/device/vpd_pg80", "\x00\x80\x00\x04S123")
	put("sys/block/vda/serial", "virtual-1")
	put("sys/block/vda/ro", "1\n")
	put("sys/block/sdb/sdb1/holders/md0/x", "")
	put("proc/mounts", "/dev/sdaa2 /data ext4 rw 0 0\n/dev/sda10x /no ext4 rw 0 0\n")
	if err := os.MkdirAll(filepath.Join(root, "dev/disk/by-id"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../sda", filepath.Join(root, "dev/disk/by-id/ata-1")); err != nil {
		t.Fatal(err)
	}
	got, err := System{root}.Devices()
	if err != nil {
		t.Fatal(err)
	}
	want := []Device{
		{Name: "loop0", Size: gib, Sector: 512, Virtual: true},
		{Name: "sda", Size: gib, Sector: 512, Model: "QEMU HARDDISK", Serial: "S123", Links: []string{"/dev/disk/by-id/ata-1"}},
		{Name: "sdb", Size: gib, Sector: 512, Busy: "part of md0"},
		{Name: "vda", Size: gib, Sector: 512, Serial: "virtual-1", ReadOnly: true},
		{Name: "sdaa", Size: gib, Sector: 512, Busy: "mounted on /data"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestMatch(t *testing.T) {
	d := Device{Name: "sda", Size: gib, Model: "QEMU HARDDISK", Serial: "S1", Links: []string{"/dev/disk/by-id/ata-1"}}
	for _, c := range []struct {
		m    ore.Match
		want string
	}{
		{ore.Match{}, ""}, {ore.Match{Least: gib, Most: gib}, ""}, {ore.Match{Least: gib + 1}, "has 1024 MiB"}, {ore.Match{Most: gib - 1}, "has 1024 MiB"},
		{ore.Match{Model: "QEMU*"}, ""}, {ore.Match{Model: "IBM*"}, `is of model "QEMU HARDDISK"`}, {ore.Match{Serial: "S?"}, ""}, {ore.Match{Serial: "T"}, `has serial number "S1"`},
		{ore.Match{Path: "/dev/sd?"}, ""}, {ore.Match{Path: "/dev/disk/by-id/ata-*"}, ""}, {ore.Match{Path: "/dev/vda"}, "is not /dev/vda"},
	} {
		if got := mismatch(c.m, d); got != c.want {
			t.Errorf("%+v: %q, want %q", c.m, got, c.want)
		}
	}
	d.Virtual = true
	if mismatch(ore.Match{}, d) == "" || mismatch(ore.Match{Path: "/dev/sda"}, d) != "" {
		t.Error("a virtual device is used only where its path is given")
	}
}

func FuzzMark(f *testing.F) {
	f.Add(Mark{State: Begun, Index: 3}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := make([]byte, 1<<20)
		copy(disk[markAt:], b)
		m, err := readMark(strings.NewReader(string(disk)))
		if err != nil {
			t.Fatal(err)
		}
		if m != nil {
			if again, err := readMark(strings.NewReader(string(append(make([]byte, markAt), m.encode()...)))); err != nil || *again != *m {
				t.Errorf("%+v, then %+v", m, again)
			}
		}
	})
}

// What marks on disks were made with stays as it is: machines that were installed before
// are known again.
func TestDigestOfAWishStays(t *testing.T) {
	was := sha256.Sum256([]byte(`{"Storage":{"Disks":null,"Arrays":null,"Volumes":null},"Firmware":"uefi","Machine":"m0","Need":0}`))
	if got := (Wish{Firmware: UEFI, Machine: "m0"}).digest(); got != was {
		t.Errorf("%x, and it was %x", got, was)
	}
}
