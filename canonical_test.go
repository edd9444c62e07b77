package ore_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"ore"
)

// keyByJSON is what a key is by its definition.
func keyByJSON(t interface{ Fatal(...any) }, e ore.Environment) ore.Key {
	e.Version = ore.EnvironmentVersion
	e.Packages = slices.Clone(e.Packages)
	for i := range e.Packages {
		e.Packages[i].Path, e.Packages[i].Archive = "", ""
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return ore.Key(hex.EncodeToString(sum[:]))
}

// bookworm is an environment as Debian's are, of so many packages, with all that
// one can have.
func bookworm(packages int) ore.Environment {
	e := ore.Environment{
		Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Arch: "amd64", Manual: []string{"ncbi-blast+"},
		Files: []ore.LockedFile{
			{Path: "/etc/motd", Mode: 0o100644, Digest: ore.DigestOf([]byte("hello")), Size: 5}, {Path: "/etc/x", Mode: 0o120777, Link: "motd"}},
		Steps: []ore.Step{{Name: "db", Run: "makeblastdb -in \"a\" && x <y >z\n"}, {Name: "index", Needs: []string{"db"}, Run: "true", Network: true}},
		Sources: []ore.LockedSource{{Suite: "bookworm", Components: []string{"main"}},
			{URI: "https://example.org/debian", Suite: "./", Components: []string{}, Key: ore.DigestOf(nil)}},
	}
	for i := range packages {
		e.Packages = append(e.Packages, ore.Package{
			Name: fmt.Sprintf("package-%d", i), Version: fmt.Sprintf("1:%d.2+dfsg-1~deb12u%d", i, i%3), Arch: "amd64",
			Path: fmt.Sprintf("pool/main/p/package-%d.deb", i), Archive: "https://example.org/", Size: int64(i) * 1000,
			Digest: ore.DigestOf([]byte{byte(i), byte(i >> 8)}), Base: i%2 == 0,
		})
	}
	return e
}

// Keys never change: images are kept and found by them, at other sites too.
func TestKeysStayTheSame(t *testing.T) {
	for n, want := range map[int]ore.Key{
		0:   "fae4af6f6a1941a582f4403870152620f0ba2225cc8ad5872c0d4076c6109ab4",
		1:   "20b6b8a6bec2d7dbb7b7dd611dab859805c1e1f426b3f18f01037b890cfc6775",
		300: "46188be9c8cec6e57f20bef78dc742cf2f0e267d94488709f46f3b71c5478b3b",
	} {
		if got := bookworm(n).Key(); got != want {
			t.Errorf("%d packages: %s, was %s", n, got, want)
		}
	}
	const empty = "a8f3c75eeded950299966063277352311582006586d1f4844b4136c2b1c1d830"
	if got := (ore.Environment{}).Key(); got != empty {
		t.Errorf("the empty environment: %s, was %s", got, empty)
	}
}

// A key is the hash of the canonical JSON, whatever the strings, numbers and lists.
func TestKeyIsTheHashOfTheJSON(t *testing.T) {
	text := rapid.OneOf(rapid.StringMatching(`[ -~]{0,20}`), rapid.String(),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	digest := rapid.Map(text, func(s string) ore.Digest { return ore.Digest(s) })
	texts := rapid.OneOf(rapid.SliceOfN(text, 0, 3), rapid.Just[[]string](nil))
	rapid.Check(t, func(t *rapid.T) {
		e := ore.Environment{Version: rapid.Int().Draw(t, "version"), Arch: text.Draw(t, "arch"), Manual: texts.Draw(t, "manual"),
			Base: ore.Base{Distribution: text.Draw(t, "distribution"), Suite: text.Draw(t, "suite")}}
		few := func(what string) int { return rapid.IntRange(0, 3).Draw(t, what) }
		for range few("packages") {
			e.Packages = append(e.Packages, ore.Package{Name: text.Draw(t, "name"), Version: text.Draw(t, "version"), Arch: text.Draw(t, "arch"),
				Path: text.Draw(t, "path"), Archive: text.Draw(t, "archive"), Size: rapid.Int64().Draw(t, "size"),
				Digest: digest.Draw(t, "digest"), Base: rapid.Bool().Draw(t, "base")})
		}
		for range few("files") {
			e.Files = append(e.Files, ore.LockedFile{Path: text.Draw(t, "path"), Mode: rapid.Uint32().Draw(t, "mode"),
				Link: text.Draw(t, "link"), Digest: digest.Draw(t, "digest"), Size: rapid.Int64().Draw(t, "size")})
		}
		for range few("steps") {
			e.Steps = append(e.Steps, ore.Step{Name: text.Draw(t, "name"), Needs: texts.Draw(t, "needs"), Run: text.Draw(t, "run"),
				Network: rapid.Bool().Draw(t, "network")})
		}
		for range few("sources") {
			e.Sources = append(e.Sources, ore.LockedSource{URI: text.Draw(t, "uri"), Suite: text.Draw(t, "suite"),
				Components: texts.Draw(t, "components"), Key: digest.Draw(t, "key")})
		}
		if rapid.Bool().Draw(t, "empty lists") {
			e.Packages, e.Files = append([]ore.Package{}, e.Packages...), append([]ore.LockedFile{}, e.Files...)
			e.Steps, e.Sources = append([]ore.Step{}, e.Steps...), append([]ore.LockedSource{}, e.Sources...)
		}
		if got, want := e.Key(), keyByJSON(t, e); got != want {
			t.Fatalf("%s, by its JSON %s: %+v", got, want, e)
		}
	})
}

// BenchmarkKey is of 300 packages, as a question to a cache has.
func BenchmarkKey(b *testing.B) {
	e := bookworm(300)
	b.ReportAllocs()
	for b.Loop() {
		_ = e.Key()
	}
}
