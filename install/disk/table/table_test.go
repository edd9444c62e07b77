package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func guid(t testing.TB, s string) GUID {
	t.Helper()
	g, err := ParseGUID(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// sample returns a table of 64 MiB with three partitions, the second of which
// is not there in a GPT.
func sample(t testing.TB, k Kind, sector int64) Table {
	mib := (1 << 20) / sector
	s := Table{Kind: k, Sector: sector, Sectors: 64 * mib, ID: guid(t, "12345678-9abc-4def-8123-456789abcdef")}
	if k == MBR {
		s.ID = GUID{0x12, 0x34, 0x56, 0x78}
		s.Parts = []Part{{Start: mib, Sectors: 8 * mib, Code: 0x83, Boot: true}, {Start: 9 * mib, Sectors: 4 * mib, Code: 0x82}}
		return s
	}
	s.Parts = []Part{
		{Start: mib, Sectors: mib, Type: guid(t, TypeBIOS), ID: guid(t, "00000000-0000-4000-8000-000000000001"), Name: "boot"},
		{},
		{Start: 2 * mib, Sectors: 60 * mib, Type: guid(t, TypeLinux), ID: guid(t, "00000000-0000-4000-8000-000000000002"), Name: "Würzel", Boot: true},
	}
	return s
}

func written(t testing.TB, s Table) []byte {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	disk := make([]byte, s.Sector*s.Sectors)
	for _, b := range s.Blocks() {
		copy(disk[b.Offset:], b.Data)
	}
	return disk
}

func TestReadsWhatWasWritten(t *testing.T) {
	for _, k := range []Kind{GPT, MBR} {
		for _, sector := range []int64{512, 4096} {
			s := sample(t, k, sector)
			disk := written(t, s)
			got, err := Read(bytes.NewReader(disk), int64(len(disk)), sector)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(s, got); d != "" {
				t.Error(k, sector, d)
			}
		}
	}
}

// A damaged first header is no harm: the copy at the end is read.
func TestReadsTheCopy(t *testing.T) {
	s := sample(t, GPT, 512)
	for _, at := range []int{512 + 60, 1024 + 3} {
		disk := written(t, s)
		disk[at] ^= 1
		got, err := Read(bytes.NewReader(disk), int64(len(disk)), 512)
		if err != nil || got.ID != s.ID {
			t.Errorf("damaged at %d: %v", at, err)
		}
		disk[len(disk)-512+60] ^= 1
		if _, err := Read(bytes.NewReader(disk), int64(len(disk)), 512); err == nil || errors.Is(err, ErrNone) {
			t.Errorf("both damaged: %v", err)
		}
	}
}

// At every moment of writing to an empty disk it has no table or the whole one.
func TestHalfWrittenTableIsNone(t *testing.T) {
	for _, k := range []Kind{GPT, MBR} {
		s := sample(t, k, 512)
		disk := make([]byte, s.Sector*s.Sectors)
		for _, b := range s.Blocks() {
			for o := 0; o < len(b.Data); o += 512 {
				copy(disk[b.Offset+int64(o):], b.Data[o:o+512])
				got, err := Read(bytes.NewReader(disk), int64(len(disk)), 512)
				if !errors.Is(err, ErrNone) && (err != nil || cmp.Diff(s, got) != "") {
					t.Fatalf("%s: after %d of the block at %d: %v", k, o, b.Offset, err)
				}
			}
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	for _, c := range []struct {
		summary string
		change  func(*Table)
		want    string
	}{
		{"over each other", func(s *Table) { s.Parts[2].Start-- }, "begins at sector"},
		{"before the first", func(s *Table) { s.Parts[0].Start = 33 }, "begins at sector 33, before 34"},
		{"over the copy", func(s *Table) { s.Parts[2].Sectors = s.Sectors - s.Parts[2].Start }, "ends after sector"},
		{"too long", func(s *Table) { s.Parts[2].Sectors = 1 << 62 }, "ends after sector"},
		{"name", func(s *Table) { s.Parts[0].Name = strings.Repeat("x", 37) }, "more than 36"},
		{"many", func(s *Table) { s.Parts = make([]Part, 129) }, "more than 128"},
		{"sector", func(s *Table) { s.Sector = 520 }, "sectors of 520"},
	} {
		s := sample(t, GPT, 512)
		c.change(&s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.summary, err)
		}
	}
}

func onFile(t *testing.T, disk []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(p, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func need(t *testing.T, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not here: install the Debian package %s", program, pkg)
	}
}

// sfdisk and sgdisk find nothing wrong, and the same partitions.
func TestOraclesAgree(t *testing.T) {
	need(t, "sfdisk", "fdisk")
	need(t, "sgdisk", "gdisk")
	for _, k := range []Kind{GPT, MBR} {
		s := sample(t, k, 512)
		p := onFile(t, written(t, s))
		out, err := exec.Command("sfdisk", "--verify", p).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "No errors detected") {
			t.Errorf("sfdisk --verify %s: %v\n%s", k, err, out)
		}
		dump, err := exec.Command("sfdisk", "--dump", p).CombinedOutput()
		if err != nil {
			t.Fatalf("sfdisk --dump: %v\n%s", err, dump)
		}
		for _, part := range s.Parts {
			if want := fmt.Sprintf("start=%12d, size=%12d", part.Start, part.Sectors); part.Sectors > 0 && !strings.Contains(string(dump), want) {
				t.Errorf("%s: no %q in\n%s", k, want, dump)
			}
		}
		if k == GPT {
			out, err := exec.Command("sgdisk", "--verify", p).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "No problems found") {
				t.Errorf("sgdisk --verify: %v\n%s", err, out)
			}
			if !strings.Contains(strings.ToLower(string(dump)), s.ID.String()) || !strings.Contains(string(dump), `W\xc3\xbcrzel`) {
				t.Errorf("sfdisk does not see identifier and name:\n%s", dump)
			}
		}
	}
}

// What sfdisk writes is read.
func TestReadsSfdisk(t *testing.T) {
	need(t, "sfdisk", "fdisk")
	for _, c := range []struct {
		script string
		kind   Kind
		parts  int
	}{
		{"label: gpt\nstart=2048, size=4096, name=abc\nsize=8192\n", GPT, 2},
		{"label: dos\nsize=4096, bootable\nsize=8192, type=5\n", MBR, 2},
	} {
		p := onFile(t, make([]byte, 64<<20))
		cmd := exec.Command("sfdisk", "-q", p)
		cmd.Stdin = strings.NewReader(c.script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sfdisk: %v\n%s", err, out)
		}
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, err := Read(f, 64<<20, 512)
		if err != nil || got.Kind != c.kind || len(got.Parts) != c.parts || got.Parts[0].Start != 2048 || got.Parts[0].Sectors != 4096 {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, k := range []Kind{GPT, MBR} {
		s := sample(f, k, 512)
		disk := written(f, s)
		f.Add(disk[:40*512], disk[len(disk)-40*512:])
	}
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		disk := make([]byte, 64<<10)
		copy(disk, head)
		if len(tail) <= len(disk) {
			copy(disk[len(disk)-len(tail):], tail)
		}
		// Checksums are made right, so that what follows them is reached.
		s := Table{Sector: 512, Sectors: int64(len(disk)) / 512}
		if string(disk[512:520]) == signature {
			le := binary.LittleEndian
			if n := le.Uint32(disk[512+12:]); n <= 512 {
				le.PutUint32(disk[512+16:], 0)
				le.PutUint32(disk[512+16:], crc32.ChecksumIEEE(disk[512:512+n]))
			}
		}
		got, err := Read(bytes.NewReader(disk), int64(len(disk)), 512)
		if err != nil {
			return
		}
		for _, p := range got.Parts {
			if p.Start < 0 || p.Sectors < 0 || p.Start+p.Sectors > s.Sectors {
				t.Errorf("partition %+v beyond %d sectors", p, s.Sectors)
			}
		}
	})
}
