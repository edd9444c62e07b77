package boot

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// elfModule is the least ELF file that has a .modinfo section.
func elfModule(info ...string) []byte {
	const names = "\x00.shstrtab\x00.modinfo\x00"
	body := names + strings.Join(info, "\x00") + "\x00"
	type section struct {
		Name, Type             uint32
		Flags, Addr, Off, Size uint64
		Link, Info             uint32
		Align, EntSize         uint64
	}
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	write := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	write(struct {
		Type, Machine                              uint16
		Version                                    uint32
		Entry, Phoff, Shoff                        uint64
		Flags                                      uint32
		Ehsize, Phentsize, Phnum, Shentsize, Shnum uint16
		Shstrndx                                   uint16
	}{Type: 1, Machine: 62, Version: 1, Shoff: uint64(64 + len(body)), Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 1})
	b.WriteString(body)
	write(section{})
	write(section{Name: 1, Type: 3, Off: 64, Size: uint64(len(names))})
	write(section{Name: 11, Type: 1, Off: 64 + uint64(len(names)), Size: uint64(len(body) - len(names))})
	return b.Bytes()
}

// kernel makes a folder of modules.
func kernel(t *testing.T) *modules {
	t.Helper()
	dir := t.TempDir()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(elfModule("depends=")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"kernel/a/top-one.ko":  elfModule("license=GPL", "depends=middle,low", "softdep=pre: soft absent post: never"),
		"kernel/a/middle.ko":   elfModule("depends=low"),
		"kernel/b/low.ko.gz":   packed.Bytes(),
		"kernel/b/soft.ko":     elfModule("softdep=pre: top_one"),
		"kernel/b/never.ko":    elfModule(),
		"kernel/b/circle.ko":   elfModule("depends=circle2"),
		"kernel/b/circle2.ko":  elfModule("depends=circle"),
		"kernel/b/wants.ko":    elfModule("depends=absent"),
		"kernel/b/damaged.ko":  []byte("\x7fELF and no more"),
		"modules.builtin":      []byte("kernel/c/inside.ko\n"),
		"kernel/b/no-module.x": nil,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := findModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestModuleOrder(t *testing.T) {
	m := kernel(t)
	for _, c := range []struct {
		want   []wanted
		order  string
		refuse string
	}{
		{[]wanted{{"top-one", true}, {"low", true}}, "soft low middle top_one", ""},
		{[]wanted{{"inside", true}, {"absent", false}}, "", ""},
		{[]wanted{{"absent", true}}, "", "no module absent"},
		{[]wanted{{"wants", true}}, "", "no module absent"},
		{[]wanted{{"circle", true}}, "", "needs itself"},
		{[]wanted{{"damaged", true}}, "", "module damaged"},
	} {
		list, err := m.order(c.want)
		if c.refuse != "" {
			if err == nil || !strings.Contains(err.Error(), c.refuse) {
				t.Errorf("%v: error %v, want %q", c.want, err, c.refuse)
			}
			continue
		}
		var names []string
		for _, l := range list {
			names = append(names, l.name)
			if !bytes.HasPrefix(l.data, []byte("\x7fELF")) {
				t.Errorf("%s is not decompressed", l.name)
			}
		}
		if got := strings.Join(names, " "); err != nil || got != c.order {
			t.Errorf("%v: %q, %v; want %q", c.want, got, err, c.order)
		}
	}
}

func FuzzModuleNeeds(f *testing.F) {
	f.Add(elfModule("depends=a,b", "softdep=pre: c post: d"))
	f.Fuzz(func(t *testing.T, b []byte) {
		hard, soft, err := moduleNeeds(b)
		if err != nil && hard != nil && soft != nil {
			t.Error("an error and an answer")
		}
	})
}

// bzImage wraps a payload as the kernel's build does.
func bzImage(payload []byte) []byte {
	b := make([]byte, 3*bzSector)
	b[bzSetupSects] = 2
	copy(b[bzMagicAt:], "HdrS")
	binary.LittleEndian.PutUint16(b[bzVersionAt:], bzPayloadVersion)
	binary.LittleEndian.PutUint32(b[bzPayloadAt:], 16)
	binary.LittleEndian.PutUint32(b[bzPayloadLenAt:], uint32(len(payload)))
	return append(append(b, make([]byte, 16)...), payload...)
}

func TestVmlinuxRefused(t *testing.T) {
	good := bzImage(elfModule()) // an ELF file without a PVH note
	for _, c := range []struct {
		image []byte
		want  string
	}{
		{nil, "EOF"},
		{make([]byte, 4096), "not a bzImage"},
		{good[:len(good)-1], "EOF"},
		{bzImage([]byte("unknown")), "not known"},
		{bzImage([]byte("\xfd7zXZ\x00 and no more")), "payload"},
		{good, errNoPVH.Error()},
	} {
		if err := vmlinux(new(bytes.Buffer), bytes.NewReader(c.image)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func FuzzVmlinux(f *testing.F) {
	f.Add(bzImage(elfModule()))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		if err := vmlinux(&out, bytes.NewReader(b)); err != nil && out.Len() > 0 {
			t.Error("an error, and something was written")
		}
	})
}
