package exact

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/deb/debtest"
	"ore/image"
	"ore/install/pack"
	"ore/squashfs"
)

// Packages that are at hand and were never decoded are judged by what they say of
// themselves; of those that are not, nothing is known.
func TestJudgeBeforeDecoding(t *testing.T) {
	packs, err := pack.Open(t.TempDir(), squashfs.Options{BlockSize: 128 << 10, Compression: squashfs.Zstd, Level: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := Source{Packs: packs, Debs: map[ore.Digest]string{}}
	dir := t.TempDir()
	have := func(p debtest.Package) ore.Package {
		b, err := p.Build()
		if err != nil {
			t.Fatal(err)
		}
		d := ore.DigestOf(b)
		s.Debs[d] = filepath.Join(dir, p.Name)
		if err := os.WriteFile(s.Debs[d], b, 0o644); err != nil {
			t.Fatal(err)
		}
		return ore.Package{Name: p.Name, Version: "1", Arch: "amd64", Digest: d}
	}
	stays := have(debtest.Package{Name: "stays", Scripts: map[string]string{"postinst": "#!/bin/sh\nls /usr/lib/shared\n"}})
	odd := have(debtest.Package{Name: "odd", Scripts: map[string]string{"postinst": "#!/bin/sh\n/usr/lib/odd/rebuild --all\n"}})
	meets := have(debtest.Package{Name: "meets", Scripts: map[string]string{"md5sums": strings.Repeat("0", 32) + "  usr/lib/shared/x\n"}})
	plain := have(debtest.Package{Name: "plain"})
	broken := ore.Package{Name: "broken", Version: "1", Arch: "amd64", Digest: ore.DigestOf([]byte("broken"))}
	s.Debs[broken.Digest] = filepath.Join(dir, "there-is-none")
	for _, c := range []struct {
		comes ore.Package
		want  string
	}{{odd, "odd is not known to be addable"}, {meets, "mentions /usr/lib/shared, which package meets changes"}, {plain, ""}, {broken, ""}} {
		from := image.Manifest{Environment: ore.Environment{Packages: []ore.Package{stays}}, Layers: []image.Layer{{}, {}}}
		env := ore.Environment{Packages: []ore.Package{c.comes, stays}}
		why, err := Judge(t.Context(), s, from, env, Known())
		if err != nil || !strings.Contains(why, c.want) || (c.want == "") != (why == "") {
			t.Errorf("%s comes: %q, %v, want %q", c.comes.Name, why, err, c.want)
		}
	}
	why, err := Judge(t.Context(), Source{Packs: packs}, image.Manifest{Environment: ore.Environment{Packages: []ore.Package{stays}}, Layers: []image.Layer{{}, {}}},
		ore.Environment{Packages: []ore.Package{odd, stays}}, Known())
	if err != nil || why != "" {
		t.Errorf("a package that is not at hand is judged: %q, %v", why, err)
	}
}
