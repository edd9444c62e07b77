package deb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ore"
)

// host makes a folder with a host's files.
func host(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const osRelease = "ID=debian\nVERSION_CODENAME=bookworm\n"

const deb822 = `Types: deb deb-src
URIs: http://m.example.org/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/a.gpg

# the part for security
Types: deb
URIs: http://m.example.org/security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.example.org/
Suites: bookworm
Components: main
`

const oneLine = `# a comment
deb [ arch=amd64,i386 signed-by=/k.gpg ] http://m.example.org/debian bookworm main non-free # more
deb-src http://m.example.org/debian bookworm main
deb http://other.example.org/tools cloud-bookworm main
deb [arch=arm64] http://arm.example.org/debian bookworm main
deb http://vendor.example.org/linux bookworm stable
deb cdrom:[Debian]/ bookworm main
`

func TestSources(t *testing.T) {
	tests := []struct {
		summary string
		files   map[string]string
		suite   string
		mirror  string
		want    []string // uri suite components [flags]
		say     string
	}{
		{summary: "a mirror that is named", suite: "trixie", mirror: "http://x.example.org/d/", files: map[string]string{"etc/apt/sources.list": oneLine},
			want: []string{"http://x.example.org/d trixie main"}},
		{summary: "fields", suite: "bookworm", files: map[string]string{"etc/apt/sources.list.d/debian.sources": deb822},
			want: []string{"http://m.example.org/debian bookworm main,contrib foreign", "http://m.example.org/debian bookworm-updates main,contrib foreign",
				"http://m.example.org/security bookworm-security main foreign"}},
		{summary: "lines, without foreign ones", suite: "bookworm", files: map[string]string{"etc/apt/sources.list": oneLine},
			want: []string{"http://m.example.org/debian bookworm main,non-free foreign"}},
		{summary: "both, each once, lines first", suite: "bookworm",
			files: map[string]string{"etc/apt/sources.list": oneLine, "etc/apt/sources.list.d/x.sources": deb822, "etc/apt/sources.list.d/y.disabled": "deb"},
			want: []string{"http://m.example.org/debian bookworm main,non-free foreign", "http://m.example.org/debian bookworm-updates main,contrib foreign",
				"http://m.example.org/security bookworm-security main foreign"}},
		{summary: "another suite than the host's", suite: "trixie",
			files: map[string]string{"etc/os-release": osRelease, "etc/apt/sources.list.d/debian.sources": deb822},
			want: []string{"http://m.example.org/debian trixie main,contrib foreign", "http://m.example.org/debian trixie-updates main,contrib foreign optional",
				"http://m.example.org/security trixie-security main foreign optional"}},
		{summary: "a host that follows stable", suite: "bookworm", files: map[string]string{"etc/apt/sources.list": "deb http://m.example.org/debian stable main\n"},
			want: []string{"http://m.example.org/debian bookworm main foreign"}},
		{summary: "nothing", suite: "bookworm", say: "set ORE_MIRROR"},
		{summary: "nothing that serves it", suite: "bookworm", files: map[string]string{"etc/apt/sources.list": "deb http://v.example.org/x focal main\n"}, say: "set ORE_MIRROR"},
		{summary: "a line that is none", suite: "bookworm", files: map[string]string{"etc/apt/sources.list": "deb [a=b http://x y\n"}, say: "sources.list: line 1"},
		{summary: "too short a line", suite: "bookworm", files: map[string]string{"etc/apt/sources.list": "deb http://x\n"}, say: "line 1"},
		{summary: "fields that are none", suite: "bookworm", files: map[string]string{"etc/apt/sources.list.d/x.sources": "Types: deb\nSuites: x\n"}, say: "without URIs"},
	}
	for _, test := range tests {
		t.Run(test.summary, func(t *testing.T) {
			c := Config{Root: host(t, test.files), Mirror: test.mirror, Base: ore.Base{Suite: test.suite}}
			list, err := c.sources()
			if test.say != "" {
				if err == nil || !strings.Contains(err.Error(), test.say) {
					t.Errorf("got %v, want an error with %q", err, test.say)
				}
				return
			}
			var got []string
			for _, s := range list {
				text := fmt.Sprintf("%s %s %s", s.uri, s.suite, strings.Join(s.components, ","))
				if s.foreign {
					text += " foreign"
				}
				if s.optional {
					text += " optional"
				}
				got = append(got, text)
			}
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %q, %v\nwant %q", got, err, test.want)
			}
		})
	}
}

// What a caller gets is what is certain to exist.
func TestBaseSources(t *testing.T) {
	files := map[string]string{"etc/os-release": osRelease, "etc/apt/sources.list.d/debian.sources": deb822}
	for suite, want := range map[string][]Source{
		"bookworm": {{"http://m.example.org/debian", "bookworm", []string{"main", "contrib"}},
			{"http://m.example.org/debian", "bookworm-updates", []string{"main", "contrib"}},
			{"http://m.example.org/security", "bookworm-security", []string{"main"}}},
		"trixie": {{"http://m.example.org/debian", "trixie", []string{"main", "contrib"}}},
	} {
		got, err := Config{Root: host(t, files), Base: ore.Base{Suite: suite}}.BaseSources()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, %v", suite, got, err)
		}
	}
	if got, err := (Config{Root: t.TempDir(), Base: ore.Base{Suite: "bookworm"}}).BaseSources(); len(got) > 0 || !errors.Is(err, ErrNoMirror) {
		t.Errorf("a host without sources: %v, %v", got, err)
	}
}

func TestHostSuite(t *testing.T) {
	for release, want := range map[string]string{
		osRelease: "bookworm", "ID=\"debian\"\nVERSION_CODENAME='trixie'\n": "trixie", "ID=ubuntu\nVERSION_CODENAME=jammy\n": "", "": "",
	} {
		if got := hostSuite(host(t, map[string]string{"etc/os-release": release})); got != want {
			t.Errorf("%q: got %q, want %q", release, got, want)
		}
	}
}

func TestTrustOrder(t *testing.T) {
	files := map[string]string{"k.gpg": "signed-by", "usr/share/keyrings/debian-archive-keyring.gpg": "debian",
		"etc/apt/trusted.gpg.d/a.asc": "a", "etc/apt/trusted.gpg.d/b.gpg": "b", "etc/apt/trusted.gpg.d/c.txt": "c"}
	root := host(t, files)
	trusted := host(t, map[string]string{"etc/apt/trusted.gpg.d/a.asc": "a", "etc/apt/trusted.gpg.d/b.gpg": "b", "etc/apt/trusted.gpg.d/c.txt": "c"})
	named := filepath.Join(root, "k.gpg")
	inline := "-----BEGIN PGP PUBLIC KEY BLOCK-----\nx"
	for _, test := range []struct {
		summary string
		config  Config
		source  source
		want    []string
	}{
		{"the keyring that is named", Config{Root: root, Keyring: named}, source{signedBy: "/nowhere"}, []string{"signed-by"}},
		{"a further repository's own key", Config{Root: root, Keyring: named}, source{further: true, key: []byte("own")}, []string{"own"}},
		{"Signed-By, a path", Config{Root: root}, source{signedBy: "/k.gpg"}, []string{"signed-by"}},
		{"Signed-By, a certificate", Config{Root: root}, source{signedBy: inline}, []string{inline}},
		{"Signed-By, a fingerprint", Config{Root: root}, source{signedBy: "ABCD"}, []string{"debian"}},
		{"the distribution's", Config{Root: root}, source{}, []string{"debian"}},
		{"what apt trusts", Config{Root: trusted}, source{}, []string{"a", "b"}},
		{"a host that knows nothing", Config{Root: t.TempDir()}, source{}, []string{string(debianKeys)}},
	} {
		got, err := test.config.trust(test.source)
		var rings []string
		for _, r := range got.rings {
			rings = append(rings, string(r))
		}
		if err != nil || !slices.Equal(rings, test.want) {
			t.Errorf("%s: got %d rings, %v", test.summary, len(rings), err)
		}
	}
	if _, err := (Config{Root: root}).trust(source{signedBy: "/nowhere"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a keyring that is not there: %v", err)
	}
}

// TestOwnKeyringIsReadable reads the certificates that are built in.
func TestOwnKeyringIsReadable(t *testing.T) {
	k, err := newTrust([][]byte{debianKeys}, nil).keyring()
	if err != nil || k.Empty() {
		t.Errorf("empty: %v, %v", k.Empty(), err)
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add(oneLine)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseOneLine(text)
		if err == nil {
			matching(list, "bookworm", "trixie")
		}
	})
}

func FuzzDeb822(f *testing.F) {
	f.Add(deb822)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseDeb822(text)
		if err == nil {
			matching(list, "bookworm", "trixie")
		}
	})
}
