package boot

import (
	"bytes"
	"debug/elf"
	"strings"
	"testing"
)

// realModule is a module of the host suite's User Mode Linux.
func realModule(t *testing.T) []byte {
	t.Helper()
	tree, err := config(t).Shelf.Tree(t.Context(), "user-mode-linux")
	if err != nil {
		t.Fatal(err)
	}
	_, dir, err := moduleFolder(tree, "usr/lib/uml/modules")
	if err != nil {
		t.Fatal(err)
	}
	all, err := findModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	order, err := all.order([]wanted{{"overlay", true}})
	if err != nil {
		t.Fatal(err)
	}
	return order[len(order)-1].data
}

func TestStripLeavesWhatTheKernelReads(t *testing.T) {
	full := realModule(t)
	small, err := strip(full)
	if err != nil {
		t.Fatal(err)
	}
	if len(small) > len(full)/2 {
		t.Errorf("%d of %d bytes are left", len(small), len(full))
	}
	before, err := elf.NewFile(bytes.NewReader(full))
	if err != nil {
		t.Fatal(err)
	}
	after, err := elf.NewFile(bytes.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	if len(after.Sections) != len(before.Sections) {
		t.Fatalf("%d sections, %d before", len(after.Sections), len(before.Sections))
	}
	for i, s := range before.Sections {
		is := after.Sections[i]
		if strings.Contains(s.Name, ".debug_") {
			if is.Size != 0 {
				t.Errorf("%s is still there", s.Name)
			}
			continue
		}
		if is.Name != s.Name || is.Type != s.Type || is.Flags != s.Flags || is.Link != s.Link || is.Info != s.Info || is.Size != s.Size {
			t.Errorf("%+v, was %+v", is.SectionHeader, s.SectionHeader)
		}
		if s.Type == elf.SHT_NOBITS || s.Type == elf.SHT_NULL {
			continue
		}
		want, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := is.Data(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs: %v", s.Name, err)
		}
		if is.Addralign > 1 && is.Offset%is.Addralign != 0 {
			t.Errorf("%s is at %#x, alignment %d", s.Name, is.Offset, is.Addralign)
		}
	}
	if again, err := strip(small); err != nil || !bytes.Equal(again, small) {
		t.Errorf("a second time: %d bytes, not %d: %v", len(again), len(small), err)
	}
}

func FuzzStrip(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	f.Add(make([]byte, 128))
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, err := strip(b); err == nil && len(out) > 2*len(b)+maxAlign*1024 {
			t.Errorf("%d bytes of %d", len(out), len(b))
		}
	})
}
