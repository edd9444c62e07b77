package repomd

import (
	"slices"
	"strings"
	"testing"

	"ore"
)

// text is a repomd.xml as createrepo_c 0.17 writes it, shortened.
const text = `<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>1795397012</revision>
  <data type="other">
    <checksum type="md5">c0</checksum>
    <location href="repodata/other.xml.gz"/>
    <size>296</size>
  </data>
  <data type="filelists">
    <checksum type="sha256">d5e259bd092972ec2688d59a9d27cbc0fc8c8a5eb286c2a2e9b52908a7d996a2</checksum>
    <location href="repodata/filelists.xml.gz"/>
    <size>462</size>
  </data>
  <data type="primary">
    <checksum type="sha256">16b853872b8c80cdfecc55bb2fb223b55b1818cfd3d3307d2c04f610fb97c2b9</checksum>
    <open-checksum type="sha256">d2f48c74d05ed16bee8f137804bc7ddd29efe1466950938970a63632341fd183</open-checksum>
    <location href="repodata/primary.xml.gz"/>
    <size>850</size>
  </data>
</repomd>
`

func TestParse(t *testing.T) {
	got, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []Index{
		{"primary", "repodata/primary.xml.gz", 850, "sha256:16b853872b8c80cdfecc55bb2fb223b55b1818cfd3d3307d2c04f610fb97c2b9"},
		{"filelists", "repodata/filelists.xml.gz", 462, "sha256:d5e259bd092972ec2688d59a9d27cbc0fc8c8a5eb286c2a2e9b52908a7d996a2"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	written, err := Write(got)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(written)
	if err != nil {
		t.Fatal(err)
	}
	for i := range again {
		if again[i].Path != "repodata/"+got[i].Name() || again[i].Digest != got[i].Digest || again[i].Size != got[i].Size {
			t.Errorf("%+v was written as %+v", got[i], again[i])
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ summary, from, to, why string }{
		{"no primary index", `type="primary"`, `type="primary_zck"`, "no primary index"},
		{"a path out of the repository", `href="repodata/primary.xml.gz"`, `href="../primary.xml.gz"`, "not a path in the repository"},
		{"an absolute path", `href="repodata/primary.xml.gz"`, `href="/etc/passwd"`, "not a path in the repository"},
		{"another address", `<location href="repodata/primary`, `<location xml:base="http://example.org/" href="repodata/primary`, "another address"},
		{"a weak hash", `sha256">16b8`, `sha1">16b8`, "only sha256"},
		{"half a hash", `16b853872b`, ``, "64 lower-case hex digits"},
		{"no size", `<size>850</size>`, ``, "size"},
		{"an endless size", `<size>850</size>`, `<size>99999999999999</size>`, "size"},
		{"half a file", `</repomd>`, ``, "repomd.xml"},
		{"something else", `<repomd xmlns`, `<html xmlns`, "repomd.xml"},
	} {
		_, err := Parse([]byte(strings.Replace(text, c.from, c.to, 1)))
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q in it", c.summary, err, c.why)
		}
	}
}

// FuzzParse looks for a repomd.xml whose indexes would be fetched from, or
// written to, somewhere else.
func FuzzParse(f *testing.F) {
	f.Add([]byte(text))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := Parse(b)
		if err != nil {
			return
		}
		for _, i := range list {
			if i.Size <= 0 || strings.HasPrefix(i.Path, "/") || strings.Contains("/"+i.Path+"/", "/../") || strings.Contains(i.Name(), "/") {
				t.Errorf("%+v", i)
			}
			if _, err := ore.ParseDigest(string(i.Digest)); err != nil {
				t.Error(err)
			}
		}
	})
}
