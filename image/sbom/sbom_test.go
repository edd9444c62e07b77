package sbom

import (
	"bytes"
	"encoding/json"
	"regexp"
	"testing"

	"ore"
	"ore/image"
)

func manifest() image.Manifest {
	hash := ore.DigestOf([]byte("content"))
	env := ore.Environment{
		Version: ore.EnvironmentVersion, Arch: "amd64", Base: ore.Base{Distribution: "debian", Suite: "bookworm"},
		Packages: []ore.Package{
			{Name: "libstdc++6", Version: "12.2.0-14+deb12u1", Arch: "amd64", Digest: hash},
			{Name: "own", Version: "1:2~rc1", Arch: "all", Digest: hash, Archive: "https://packages.example.org/apt/", Path: "pool/own.deb"},
		},
		Files: []ore.LockedFile{{Path: "/etc/motd", Digest: hash}, {Path: "/link", Link: "etc"}},
	}
	return image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: hash}
}

// TestSPDX holds the document to the rules of the specification's clauses 6, 7
// and 11 that its JSON schema states: mandatory fields, forms of identifiers,
// one DESCRIBES, and no relationship to what is not there.
func TestSPDX(t *testing.T) {
	b, err := SPDX(manifest())
	if err != nil {
		t.Fatal(err)
	}
	var d document
	r := json.NewDecoder(bytes.NewReader(b))
	r.DisallowUnknownFields()
	if err := r.Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.Version != "SPDX-2.3" || d.License != "CC0-1.0" || d.ID != "SPDXRef-DOCUMENT" || d.Name == "" || len(d.Creation.Creators) == 0 {
		t.Errorf("head %+v", d)
	}
	if !regexp.MustCompile(`^[a-z]+:[^#\s]+$`).MatchString(d.Namespace) {
		t.Errorf("namespace %q is no absolute URI without fragment", d.Namespace)
	}
	ids := map[string]component{d.ID: {}}
	for _, c := range d.Packages {
		if !regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`).MatchString(c.ID) {
			t.Errorf("identifier %q", c.ID)
		}
		if _, twice := ids[c.ID]; twice {
			t.Errorf("identifier %q twice", c.ID)
		}
		ids[c.ID] = c
		if c.Name == "" || c.Location == "" || len(c.Checksums) != 1 || len(c.Checksums[0].Value) != 64 {
			t.Errorf("package %+v", c)
		}
	}
	if len(d.Packages) != 4 {
		t.Errorf("%d packages, want the image, two and a file", len(d.Packages))
	}
	described := 0
	for _, r := range d.Relationships {
		if r.Type == "DESCRIBES" {
			described++
		}
		_, from := ids[r.From]
		if _, to := ids[r.To]; !from || !to {
			t.Errorf("relationship %+v names what is not there", r)
		}
	}
	if described != 1 || len(d.Relationships) != len(d.Packages) {
		t.Errorf("relationships %+v", d.Relationships)
	}
	again, err := SPDX(manifest())
	if err != nil || !bytes.Equal(b, again) {
		t.Error("the same image has another bill of materials")
	}
}

func TestPurl(t *testing.T) {
	want := []string{
		"pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=bookworm",
		"pkg:deb/debian/own@1:2~rc1?arch=all&distro=bookworm&repository_url=https%3A%2F%2Fpackages.example.org%2Fapt%2F",
	}
	m := manifest()
	for i, p := range m.Environment.Packages {
		if got := purl(p, m.Environment.Base); got != want[i] {
			t.Errorf("purl of %s is %s, want %s", p, got, want[i])
		}
	}
}

func TestPurlOfRPM(t *testing.T) {
	p := ore.Package{Name: "Hello_Grid", Version: "2:1.5-3.el9", Arch: "x86_64", Archive: "http://example.org/os"}
	const want = "pkg:rpm/Hello_Grid@1.5-3.el9?arch=x86_64&epoch=2&repository_url=http%3A%2F%2Fexample.org%2Fos"
	if got := purl(p, ore.Base{Distribution: "rpm", Suite: "tiny"}); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
