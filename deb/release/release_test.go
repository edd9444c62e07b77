package release_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/deb/debtest"
	"ore/deb/release"
)

// inRelease returns what a test archive serves as InRelease.
func inRelease(t *testing.T, a *debtest.Archive) []byte {
	t.Helper()
	resp, err := http.Get(a.URL + "/dists/" + debtest.Suite + "/InRelease")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func keyring(t *testing.T, data []byte) release.Keyring {
	t.Helper()
	k, err := release.ReadKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestVerify(t *testing.T) {
	a := debtest.New(t, debtest.Package{Name: "a"})
	stranger := debtest.New(t)
	signed := inRelease(t, a)
	begin := []byte("-----BEGIN PGP SIGNATURE-----")
	tests := []struct {
		summary string
		file    []byte
		keys    []byte
		say     string // in the error, "" for none
	}{
		{"as it is", signed, a.Key, ""},
		{"two certificates, one of them right", signed, append(append([]byte{}, stranger.Key...), a.Key...), ""},
		{"somebody else's key", signed, stranger.Key, "no trusted key"},
		{"one byte changed", bytes.Replace(signed, []byte("Label: Test"), []byte("Label: Best"), 1), a.Key, "invalid signature"},
		{"no signature", []byte("Origin: Debian\n"), a.Key, "not signed"},
		{"text before the signed part", append([]byte("Origin: X\n"), signed...), a.Key, "outside"},
		{"text behind the signed part", append(append([]byte{}, signed...), "Origin: X\n"...), a.Key, "outside"},
		{"a signature cut short", signed[:bytes.Index(signed, begin)+len(begin)+40], a.Key, "signature"},
		{"nothing", nil, a.Key, "not signed"},
	}
	for _, test := range tests {
		t.Run(test.summary, func(t *testing.T) {
			r, err := release.Verify(test.file, keyring(t, test.keys), time.Now())
			var bad *release.SignatureError
			switch {
			case test.say == "" && (err != nil || r.Codename != debtest.Suite || len(r.Files) != 2):
				t.Errorf("got %+v, %v", r, err)
			case test.say != "" && (!errors.As(err, &bad) || !strings.Contains(err.Error(), test.say)):
				t.Errorf("got %v, want an error with %q", err, test.say)
			}
		})
	}
}

func TestKeyringRefusesNonsense(t *testing.T) {
	for _, data := range []string{"", "nonsense", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n"} {
		if _, err := release.ReadKeyring([]byte(data)); err == nil {
			t.Errorf("%q is taken for a keyring", data)
		}
	}
}

func TestOnlyFingerprints(t *testing.T) {
	a := debtest.New(t)
	k := keyring(t, a.Key)
	if !k.Only([]string{"0123456789ABCDEF0123456789ABCDEF01234567"}).Empty() {
		t.Error("a certificate with another fingerprint is chosen")
	}
	if k.Empty() || k.Join(k).Empty() {
		t.Error("a ring with a certificate counts as empty")
	}
}

const text = `Origin: Debian
Suite: stable
Codename: trixie
Date: Sat, 1 Aug 2026 10:16:37 UTC
Valid-Until: Sat, 08 Aug 2026 10:16:37 +0000
Acquire-By-Hash: yes
Architectures: all amd64 i386
Components: updates/main contrib
NotAutomatic: yes
ButAutomaticUpgrades: yes
SHA256:
 AABBCCDDEEFF00112233445566778899aabbccddeeff00112233445566778899       12 main/binary-amd64/Packages
`

func TestParse(t *testing.T) {
	r, err := release.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if r.Origin != "Debian" || r.Suite != "stable" || r.Codename != "trixie" || !r.ByHash || !r.AllApart || !r.NotAutomatic || !r.ByHand {
		t.Errorf("got %+v", r)
	}
	if !r.Has("main") || !r.Has("contrib") || r.Has("non-free") {
		t.Errorf("components: %v", r.Components)
	}
	want := release.File{Size: 12, Digest: ore.Digest("sha256:aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899")}
	if got := r.Files["main/binary-amd64/Packages"]; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, now := range []struct {
		at   string
		want error
	}{{"2026-08-02", nil}, {"2026-08-09", release.ErrExpired}, {"2026-07-30", release.ErrFuture}, {"2026-08-01", nil}} {
		at, err := time.Parse(time.DateOnly, now.at)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Check(at); !errors.Is(err, now.want) {
			t.Errorf("on %s: %v, want %v", now.at, err, now.want)
		}
	}
	for _, change := range [][2]string{{"Date: Sat, 1", "Date: X, 1"}, {"Valid-Until: Sat", "Valid-Until: X"},
		{" 12 main", " x main"}, {"12 main/", "12 ../"}, {"AABB", "ZZ"}, {"Origin: ", "Origin "}, {" 12 main", " main"}} {
		if _, err := release.Parse(strings.Replace(text, change[0], change[1], 1)); err == nil {
			t.Errorf("%q instead of %q is accepted", change[1], change[0])
		}
	}
	if strings.Contains(text, "No-Support") {
		t.Fatal("the text is not what this test thinks")
	}
	r, err = release.Parse("No-Support-for-Architecture-all: Packages\n" + text)
	if err != nil || r.AllApart {
		t.Errorf("all stands apart: %v, %v", r.AllApart, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(text)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := release.Parse(text)
		if err == nil && r.Date.IsZero() {
			t.Error("a release without a date")
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: x\n-----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := release.Verify(data, release.Keyring{}, time.Unix(1_800_000_000, 0)); err == nil {
			t.Error("an empty keyring trusts somebody")
		}
	})
}
