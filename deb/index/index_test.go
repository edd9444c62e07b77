package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ore"
)

const sum = "aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899"

// para writes a package's paragraph; fields come in pairs.
func para(name, version, arch string, fields ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: %s\nFilename: pool/%s.deb\nSize: 100\nSHA256: %s\n",
		name, version, arch, name, sum)
	for i := 0; i < len(fields); i += 2 {
		fmt.Fprintf(&b, "%s: %s\n", fields[i], fields[i+1])
	}
	return b.String() + "\n"
}

func mustBuild(t testing.TB, text string) []byte {
	t.Helper()
	data, err := Build(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustLoad(t testing.TB, text string) *Index {
	t.Helper()
	x, err := Load(mustBuild(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestPackage(t *testing.T) {
	x := mustLoad(t, para("b", "1", "all")+
		para("a", "2:1-1", "amd64", "Essential", "yes", "Protected", "yes", "Multi-Arch", "allowed", "Priority", "required",
			"Pre-Depends", "p", "Depends", "d (>= 1)", "Recommends", "r", "Conflicts", "c", "Breaks", "k", "Provides", "v (= 3), w"))
	n, ok := x.Lookup("a")
	if !ok || n.Packages != 1 {
		t.Fatalf("lookup a: %+v, %v", n, ok)
	}
	want := Package{Name: "a", Version: "2:1-1", Arch: "amd64", Path: "pool/a.deb", Size: 100, Digest: ore.Digest("sha256:" + sum),
		MultiArch: MultiArchAllowed, Priority: PriorityRequired, Essential: true, Important: true,
		PreDepends: "p", Depends: "d (>= 1)", Recommends: "r", Conflicts: "c", Breaks: "k"}
	if got := x.Package(n.First); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if b := x.Base(); len(b) != 1 || x.Package(b[0]).Name != "a" {
		t.Errorf("base: %v", b)
	}
	v, _ := x.Lookup("v")
	if got, want := x.Provides(v), []Provide{{Package: n.First, Version: "3"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("v is provided by %v, want %v", got, want)
	}
	if b, _ := x.Lookup("b"); x.Package(b.First).Arch != "all" || x.Package(b.First).Priority != PriorityNone {
		t.Errorf("b: %+v", x.Package(b.First))
	}
	if _, ok := x.Lookup("nothing"); ok {
		t.Error("a name that stands nowhere is found")
	}
	if got := x.Package(x.Len()); got.Name != "" {
		t.Errorf("the package behind the last: %+v", got)
	}
}

func TestVersionsNewestFirst(t *testing.T) {
	x := mustLoad(t, para("a", "1.9", "all")+para("a", "1.10", "all")+para("a", "1.9~x", "all"))
	n, _ := x.Lookup("a")
	var got []string
	for i := range n.Packages {
		got = append(got, x.Package(n.First+i).Version)
	}
	if want := []string{"1.10", "1.9", "1.9~x"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestRanks holds the order of first mention to that in which apt reads.
func TestRanks(t *testing.T) {
	x := mustLoad(t, para("a", "1", "all", "Provides", "n9", "Depends", "n2 | n3:any, n4 (>= 1)", "Pre-Depends", "n1",
		"Enhances", "n8", "Conflicts", "n5", "Recommends", "n6", "Suggests", "n7")+para("z", "1", "all"))
	last := -1
	for _, name := range []string{"a", "n1", "n2", "n4", "n5", "n6", "n7", "n8", "n9", "z"} {
		n, ok := x.Lookup(name)
		if !ok || n.Rank <= last {
			t.Errorf("%s has rank %d (%v) after %d", name, n.Rank, ok, last)
		}
		last = n.Rank
	}
	if _, ok := x.Lookup("n3"); ok {
		t.Error("n3:any counts as a mention of n3")
	}
}

func TestOtherArchitecturesAreLeftOut(t *testing.T) {
	x := mustLoad(t, para("a", "1", "i386")+para("b", "1", "all"))
	if x.Len() != 1 {
		t.Errorf("%d packages, want 1", x.Len())
	}
}

func TestBadStanzas(t *testing.T) {
	good := para("a", "1", "all")
	for _, change := range [][2]string{
		{"Version: 1", "Version: "}, {"Version: 1", "Version: x y"}, {"pool/a.deb", "../a.deb"}, {"pool/a.deb", "/a.deb"},
		{"Size: 100", "Size: -1"}, {"Size: 100", "Size: many"}, {sum, sum[1:]}, {sum, "x" + sum[1:]}, {"Package: a", "Package: a/b"},
	} {
		if _, err := Build(strings.Replace(good, change[0], change[1], 1)); err == nil {
			t.Errorf("%q instead of %q is accepted", change[1], change[0])
		}
	}
	if _, err := Build("nonsense\n"); err == nil {
		t.Error("a text without fields is accepted")
	}
}

func TestDamage(t *testing.T) {
	data := mustBuild(t, para("a", "1", "all", "Provides", "b")+para("c", "1", "all"))
	path := filepath.Join(t.TempDir(), "x")
	for at := 0; at < len(data); at += 3 {
		bad := slices.Clone(data)
		bad[at] ^= 0x41
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d changed: %v", at, err)
		}
		if _, err := Load(data[:at]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", at, err)
		}
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	x, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	p := x.Package(0)
	if err := errors.Join(x.Close(), x.Close()); err != nil || p.Name != "a" {
		t.Errorf("close: %v, package %+v", err, p)
	}
}

func TestNear(t *testing.T) {
	x := mustLoad(t, para("ncbi-blast+", "1", "all")+para("python3", "1", "all")+para("python3-numpy", "1", "all")+
		para("hmmer", "1", "all", "Provides", "hmmar")+para("r-base", "1", "all"))
	for _, test := range []struct {
		name string
		want []string
	}{
		{"ncbi-blats+", []string{"ncbi-blast+"}},
		{"hmer", []string{"hmmer"}},
		{"pyhton3", []string{"python3"}},
		{"python", []string{"python3", "python3-numpy"}},
		{"hmmar", []string{"hmmer"}},
		{"completely-different", nil},
	} {
		if got := x.Near(test.name); !slices.Equal(got, test.want) {
			t.Errorf("near %q: got %v, want %v", test.name, got, test.want)
		}
	}
}

// FuzzLoad gives damaged files a right checksum, so that the readers behind it
// see them.
func FuzzLoad(f *testing.F) {
	f.Add(mustBuild(f, para("a", "1", "all", "Provides", "b (= 1), c", "Depends", "d")+para("a", "2", "all")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= headerSize {
			data = slices.Clone(data)
			copy(data, magic)
			binary.LittleEndian.PutUint32(data[len(magic):], crc32.Checksum(data[checksumFrom:], crc32.MakeTable(crc32.Castagnoli)))
		}
		x, err := Load(data)
		if err != nil {
			return
		}
		for i := range x.Len() {
			if n, ok := x.Lookup(x.Package(i).Name); ok {
				for _, p := range x.Provides(n) {
					x.Package(p.Package)
				}
				x.Package(n.First + n.Packages)
			}
		}
		for _, i := range x.Base() {
			x.Package(i)
		}
		x.Near("abc")
	})
}

func FuzzBuild(f *testing.F) {
	f.Add(para("a", "1", "all", "Provides", "b (= 1), c:any", "Depends", "d | e:any"))
	f.Fuzz(func(t *testing.T, text string) {
		data, err := Build(text)
		if err != nil {
			return
		}
		x, err := Load(data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range x.Len() {
			p := x.Package(i)
			n, ok := x.Lookup(p.Name)
			if !ok || i < n.First || i >= n.First+n.Packages {
				t.Errorf("package %d, %q, is not among those of its name: %+v, %v", i, p.Name, n, ok)
			}
		}
	})
}

// bigText returns an index of n packages.
func bigText(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(para(fmt.Sprintf("package-number-%d", i), "1.2.3-4", "amd64", "Depends",
			fmt.Sprintf("package-number-%d (>= 1), libc6 (>= 2.36), package-number-%d | virtual-%d", i/2, i/3, i%7),
			"Provides", fmt.Sprintf("virtual-%d (= 1)", i%100)))
	}
	return b.String()
}

func BenchmarkBuild(b *testing.B) {
	text := bigText(20_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		mustBuild(b, text)
	}
}

func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x")
	if err := os.WriteFile(path, mustBuild(b, bigText(60_000)), 0o644); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		x, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	x := mustLoad(b, bigText(60_000))
	for b.Loop() {
		n, ok := x.Lookup("package-number-34567")
		if !ok || x.Package(n.First).Name == "" {
			b.Fatal("not found")
		}
	}
}
