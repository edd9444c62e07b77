package image

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"ore"
)

func signedManifest() Manifest {
	env := ore.Environment{Version: 1, Manual: []string{"a"}}
	return Manifest{Version: ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf([]byte("t")),
		Layers: []Layer{{Digest: ore.DigestOf([]byte("l")), Size: 1}}}
}

func TestSignatures(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenSigner(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	m := signedManifest()
	sig := s.Sign(m)
	if err := os.WriteFile(filepath.Join(dir, "site.pub"), []byte("# ours\n\n"+s.Key()+" the builder\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	keys, err := ReadKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	if keys[s.Key()] != "the builder" {
		t.Errorf("got %v", keys)
	}
	if err := keys.Verify(m, sig); err != nil {
		t.Errorf("a good signature: %v", err)
	}
	other := m
	other.Files++
	if err := keys.Verify(other, sig); !errors.Is(err, ErrForged) {
		t.Errorf("another manifest: %v", err)
	}
	stranger, err := GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Verify(m, stranger.Sign(m)); !errors.Is(err, ErrUntrusted) {
		t.Errorf("a stranger's: %v", err)
	}
	if err := keys.Verify(m, Signature{Key: s.Key(), Sig: stranger.Sign(m).Sig}); !errors.Is(err, ErrForged) {
		t.Errorf("a stranger's under our name: %v", err)
	}
	if err := keys.Verify(m, Signature{}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("no signature: %v", err)
	}
	if err := (Keys)(nil).Verify(m, sig); !errors.Is(err, ErrUntrusted) {
		t.Errorf("nobody is trusted, and yet: %v", err)
	}
}

// TestOpenSignerMakesOneKey opens the signer many times at once, at first use.
func TestOpenSignerMakesOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var mu sync.Mutex
	seen := map[string]bool{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s, err := OpenSigner(path)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[s.Key()] = true
		})
	}
	all.Wait()
	if len(seen) != 1 {
		t.Errorf("%d keys", len(seen))
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
}

func TestOpenSignerRefusesWhatOthersCanRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if _, err := OpenSigner(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSigner(path); err == nil {
		t.Error("a key that others can read was taken")
	}
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSigner(path); err == nil {
		t.Error("rubbish was taken for a key")
	}
}

func FuzzSignature(f *testing.F) {
	s, err := GenerateSigner()
	if err != nil {
		f.Fatal(err)
	}
	m := signedManifest()
	good := s.Sign(m)
	f.Add(good.Key, good.Sig)
	f.Fuzz(func(t *testing.T, key string, sig []byte) {
		err := Signature{Key: key, Sig: sig}.Check(m.Encode())
		if err == nil && key == s.Key() && string(sig) != string(good.Sig) {
			t.Errorf("a second signature of the same bytes was accepted: %x", sig)
		}
	})
}
