package rpm

import (
	"path/filepath"
	"syscall"
	"testing"

	"ore"
	"ore/image"
	"ore/install"
	"ore/install/sandbox"
	"ore/rpm/rpmtest"
)

// Files and steps are put over a tree of RPM packages as over any base. The base is
// made once.
func TestImage(t *testing.T) {
	repository := "file://" + rpmtest.Repository(t, nil, rpmtest.Basis, rpmtest.Hello)
	w := wants(ore.Repository{URI: repository})
	dir := t.TempDir()
	m := maker(t, dir)
	b := &install.Builder{Dir: filepath.Join(dir, "install"), Store: m.Store, Tier: sandbox.Root, Args: []string{builderWord}}
	env, err := m.Resolve(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	var bases []ore.Key
	r := install.Request{Environment: env, Based: func(m image.Manifest) { bases = append(bases, m.Key) }}
	plain, err := m.Image(t.Context(), b, r, w.Repositories)
	if err != nil {
		t.Fatal(err)
	}
	if plain.Key != env.Key() || len(plain.Layers) != 1 {
		t.Errorf("the image is %s with %d layers, not %s with one", plain.Key, len(plain.Layers), env.Key())
	}
	content, err := m.Store.PutBytes(t.Context(), []byte("hello\n"))
	if err != nil {
		t.Fatal(err)
	}
	path, err := m.Store.Path(content)
	if err != nil {
		t.Fatal(err)
	}
	r.Files = map[ore.Digest]string{content: path}
	r.Environment.Files = []ore.LockedFile{{Path: "/etc/motd", Mode: syscall.S_IFREG | 0o644, Digest: content, Size: 6}}
	r.Environment.Steps = []ore.Step{{Name: "greet", Run: "hello-grid > /etc/greeting; cat /etc/motd >> /etc/greeting"}}
	m.Tools = nil // dnf has nothing to do any more
	full, err := m.Image(t.Context(), b, r, w.Repositories)
	if err != nil {
		t.Fatal(err)
	}
	if full.Key != r.Environment.Key() || len(full.Layers) != 3 || full.Layers[0].Digest != plain.Layers[0].Digest {
		t.Errorf("the image is %s with layers %v, not %s with two over %v", full.Key, full.Layers, r.Environment.Key(), plain.Layers)
	}
	if got := read(t, open(t, m.Store, full.Layers[2]), "etc/greeting"); got != "hello from an rpm\nhello\n" {
		t.Errorf("the step wrote %q", got)
	}
	if len(bases) != 1 || bases[0] != env.BaseOnly().Key() {
		t.Errorf("told of the bases %v, not of %s alone", bases, env.BaseOnly().Key())
	}
}
