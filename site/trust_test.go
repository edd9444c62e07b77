package site

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/image"
	"ore/squashfs"
)

// trusting returns what opens one site with the keys that it trusts.
func trusting(t *testing.T) func(image.Keys) *Site {
	home := t.TempDir()
	d, err := FindDirs(func(name string) string { return map[string]string{HomeVariable: home}[name] })
	if err != nil {
		t.Fatal(err)
	}
	return func(trusted image.Keys) *Site {
		s, err := Open(t.Context(), Config{Dirs: d, Trusted: trusted})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// What was fetched before the site was told whom to trust is not used if those
// have not signed it: neither as it is, nor to make others from, nor its base. As
// soon as its signer is trusted, it is.
func TestTrustIsAskedAtUse(t *testing.T) {
	stranger, friend, at := signer(t), signer(t), trusting(t)
	libc := ore.Package{Name: "libc6", Version: "2", Arch: "amd64", Base: true, Digest: ore.DigestOf([]byte("libc6"))}
	jq := ore.Package{Name: "jq", Version: "1", Arch: "amd64", Digest: ore.DigestOf([]byte("jq"))}
	env := ore.Environment{Version: ore.EnvironmentVersion, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Arch: "amd64", Packages: []ore.Package{libc}}
	more := env
	more.Packages, more.Manual = []ore.Package{jq, libc}, []string{"jq"}

	s := at(nil)
	layer := emptyLayer(t, s.Cache.Store)
	for _, e := range []ore.Environment{env, more} {
		m := image.Manifest{Version: image.ManifestVersion, Key: e.Key(), Environment: e, Tree: ore.DigestOf([]byte("tree")), Layers: []image.Layer{layer}}
		if _, err := s.Cache.RegisterSigned(t.Context(), m, stranger.Sign(m), time.Second); err != nil {
			t.Fatal(err)
		}
		if e.Key() == env.Key() {
			m.Tree = "" // its layer alone is believed
			if err := s.builder(nil, nil).Adopt(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		summary string
		trusted image.Keys
		used    bool
	}{
		{"nobody in particular is trusted", nil, true},
		{"its signer is trusted", keysOf(t, stranger), true},
		{"others are trusted", keysOf(t, friend), false},
	} {
		s := at(c.trusted)
		var told []string
		m := &images{site: s, watch: func(e ore.Event) { told = append(told, e.Text) }}
		found, err := m.exact(t.Context(), more)
		if err != nil || (found != nil) != c.used || len(told) > 0 != !c.used {
			t.Errorf("%s: the very image: %v, %v, told %q", c.summary, found != nil, err, told)
		}
		near, err := m.relatives(t.Context(), more)
		if err != nil || (len(near) > 0) != c.used {
			t.Errorf("%s: %d relatives, %v", c.summary, len(near), err)
		}
		if _, err := s.installed(t.Context(), more); err != nil {
			t.Errorf("%s: %v", c.summary, err)
		}
		if _, err := s.Cache.Match(t.Context(), string(env.Key())); (err == nil) != c.used {
			t.Errorf("%s: its base: %v", c.summary, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What was made here on a base that was fetched is not used when its signer is
// trusted no more, also if the base's own image is gone by then, and the next build
// makes its own base.
func TestTrustIsWithdrawn(t *testing.T) {
	stranger, friend, at := signer(t), signer(t), trusting(t)
	libc := ore.Package{Name: "libc6", Version: "2", Arch: "amd64", Base: true, Digest: ore.DigestOf([]byte("libc6"))}
	jq := ore.Package{Name: "jq", Version: "1", Arch: "amd64", Digest: ore.DigestOf([]byte("jq"))}
	env := ore.Environment{Version: ore.EnvironmentVersion, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Arch: "amd64", Packages: []ore.Package{jq, libc}, Manual: []string{"jq"}}

	s := at(keysOf(t, stranger))
	below := emptyLayer(t, s.Cache.Store)
	base := image.Manifest{Version: image.ManifestVersion, Key: env.BaseOnly().Key(), Environment: env.BaseOnly(), Tree: ore.DigestOf([]byte("tree")), Layers: []image.Layer{below}}
	if _, err := s.Cache.RegisterSigned(t.Context(), base, stranger.Sign(base), time.Second); err != nil {
		t.Fatal(err)
	}
	adopted := base
	adopted.Tree = "" // its layer alone is believed
	if err := s.builder(nil, nil).Adopt(t.Context(), adopted); err != nil {
		t.Fatal(err)
	}
	top, n, err := s.Cache.Put(t.Context(), func(f *os.File) error { _, err := f.WriteString("on it"); return err })
	if err != nil {
		t.Fatal(err)
	}
	on := image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf([]byte("on")), Layers: []image.Layer{below, {Digest: top, Size: n, Compression: "zstd"}}}
	if _, err := s.Cache.Register(t.Context(), on, time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Cache.Forget(t.Context(), base.Key); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		summary string
		trusted image.Keys
		used    bool
	}{
		{"its signer is trusted", keysOf(t, stranger), true},
		{"its signer is trusted no more", keysOf(t, friend), false},
	} {
		s := at(c.trusted)
		var told []string
		m := &images{site: s, watch: func(e ore.Event) { told = append(told, e.Text) }}
		found, err := m.exact(t.Context(), env)
		if err != nil || (found != nil) != c.used || len(told) > 0 != !c.used {
			t.Errorf("%s: the image made here: %v, %v, told %q", c.summary, found != nil, err, told)
		}
		if !c.used && !strings.Contains(strings.Join(told, "\n"), stranger.Key()) {
			t.Errorf("%s: nobody is told whose it is: %q", c.summary, told)
		}
		near, err := m.relatives(t.Context(), env)
		if err != nil || (len(near) > 0) != c.used {
			t.Errorf("%s: %d relatives, %v", c.summary, len(near), err)
		}
		have, err := s.installed(t.Context(), env)
		if err != nil || (have.Base != nil) != c.used {
			t.Errorf("%s: builds go on from its base: %v, %v", c.summary, have.Base != nil, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func signer(t *testing.T) *image.Signer {
	t.Helper()
	s, err := image.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keysOf(t *testing.T, s *image.Signer) image.Keys {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, []byte(s.Key()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	k, err := image.ReadKeys(name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// emptyLayer puts a layer that has nothing but the root.
func emptyLayer(t *testing.T, store *image.Store) image.Layer {
	t.Helper()
	d, n, err := store.Put(t.Context(), func(f *os.File) error {
		w, err := squashfs.NewWriter(f, squashfs.Options{})
		if err != nil {
			return err
		}
		if err := w.Add(squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil); err != nil {
			return err
		}
		return w.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return image.Layer{Digest: d, Size: n, Compression: "zstd"}
}
