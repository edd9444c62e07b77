package early

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ore"
)

func sample() Record {
	return Record{Layers: []Layer{
		{Digest: ore.DigestOf([]byte("a")), List: [32]byte{1}, Took: 12345, Ranges: []Range{{1 << 20, 4096}, {0, 131072}, {1<<20 + 4096, 8192}}},
		{Digest: ore.DigestOf([]byte("b"))},
	}}
}

func TestRecordsAreKept(t *testing.T) {
	f := Folder(t.TempDir() + "/records")
	img := ore.DigestOf([]byte("image"))
	if _, ok := f.Load(img); ok {
		t.Error("a record that nobody made")
	}
	if err := f.Save(img, sample()); err != nil {
		t.Fatal(err)
	}
	got, ok := f.Load(img)
	if diff := cmp.Diff(sample(), got); !ok || diff != "" {
		t.Errorf("the record came back as\n%s", diff)
	}
	if l, ok := got.Layer(ore.DigestOf([]byte("b"))); !ok || len(l.Ranges) != 0 {
		t.Errorf("its second layer is %+v, %v", l, ok)
	}
	if err := os.WriteFile(string(f)+"/"+img.Hex(), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Load(img); ok {
		t.Error("junk is a record")
	}
	if err := Folder("").Save(img, sample()); err != nil {
		t.Error(err)
	}
}

func TestFolderIsBounded(t *testing.T) {
	f := Folder(t.TempDir())
	for i := range 5 {
		if err := f.Save(ore.DigestOf(fmt.Append(nil, i)), sample()); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.trim(3); err != nil {
		t.Fatal(err)
	}
	if list, err := os.ReadDir(string(f)); err != nil || len(list) != 3 {
		t.Errorf("%d records are left, %v", len(list), err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample().Encode())
	f.Add(Record{}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(r.Encode())
		if err != nil || !bytes.Equal(again.Encode(), r.Encode()) {
			t.Errorf("%v is read again as %v, %v", r, again, err)
		}
	})
}
