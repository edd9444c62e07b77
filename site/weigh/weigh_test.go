package weigh

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ore"
	"ore/install/kept"
	"ore/install/pack"
	"ore/plan"
	"ore/squashfs"
)

// A prerm and a postrm as debhelper 13 makes them for a package with a service and
// Python modules.
const (
	prerm = `#!/bin/sh
set -e

# Automatically added by dh_python3
if command -v py3clean >/dev/null 2>&1; then
	py3clean -p fail2ban
else
	dpkg -L fail2ban | sed -En -e '/^(.*)\/(.+)\.py$/s,,rm "\1/__pycache__/\2".*,e'
	find /usr/lib/python3/dist-packages/ -type d -name __pycache__ -empty -print0 | xargs --null --no-run-if-empty rmdir
fi

# End automatically added section
# Automatically added by dh_installsystemd/13.11.4
if [ -z "${DPKG_ROOT:-}" ] && [ "$1" = remove ] && [ -d /run/systemd/system ] ; then
	deb-systemd-invoke stop 'fail2ban.service' >/dev/null || true
fi
# End automatically added section
`
	postrm = `#!/bin/sh
set -e
case "$1" in
	purge|remove)
		rm -f /run/fail2ban
		;;
	upgrade) ;;
	*) echo "unknown argument" >&2; exit 1 ;;
esac
NAME=value
if [ "$1" = "purge" ]; then update-rc.d fail2ban \
	remove >/dev/null; fi
`
)

func TestWeigh(t *testing.T) {
	for _, c := range []struct {
		what    string
		control map[string][]byte
		want    plan.Weight
	}{
		{"nothing", nil, plan.Weight{}},
		{"what a shell does itself", map[string][]byte{"prerm": []byte("#!/bin/sh\nset -e\nif [ \"$1\" = remove ]; then\n\t: \nfi\nexit 0\n")}, plan.Weight{}},
		// py3clean, dpkg, sed, find, xargs, deb-systemd-invoke; rm, update-rc.d
		{"a service", map[string][]byte{"postinst": []byte("x"), "triggers": []byte("y"), "prerm": []byte(prerm), "postrm": []byte(postrm)},
			plan.Weight{Scripts: 2, Programs: 8}},
		{"a command in another", map[string][]byte{"postrm": []byte("x=$(getent passwd a | cut -d: -f1)\ndeluser `id -un` || true\n")}, plan.Weight{Programs: 4}},
	} {
		if got := Weigh(c.control); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
	}
}

// ar appends a member to an archive (ar(5)).
func ar(b *bytes.Buffer, name string, text []byte) {
	fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", name, 0, 0, 0, 0o100644, len(text))
	b.Write(text)
	if len(text)%2 == 1 {
		b.WriteByte('\n')
	}
}

// member is a compressed archive of files.
func member(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: "./" + name, Mode: 0o755, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// deb makes a .deb and returns the package.
func deb(t *testing.T, dir, name, prerm string) ore.Package {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	ar(&b, "debian-binary", []byte("2.0\n"))
	ar(&b, "control.tar.gz", member(t, map[string]string{
		"control": "Package: " + name + "\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n", "prerm": prerm}))
	ar(&b, "data.tar.gz", member(t, map[string]string{"usr/share/" + name: "x"}))
	p := ore.Package{Name: name, Version: "1", Arch: "all", Size: int64(b.Len()), Digest: ore.DigestOf(b.Bytes())}
	if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// What is decoded, or at hand as a .deb, is weighed; what is neither, or was removed
// before, is not.
func TestExtras(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	packs, err := pack.Open(kept.Below(dir).Packs, squashfs.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const stop = "#!/bin/sh\ninvoke-rc.d x stop\nupdate-alternatives --remove x /usr/bin/x\n"
	decoded, lying, gone, before := deb(t, dir, "decoded", stop), deb(t, dir, "lying", "#!/bin/sh\nrm -f /x\n"), deb(t, dir, "gone", stop), deb(t, dir, "before", stop)
	broken := ore.Package{Name: "broken", Digest: ore.DigestOf([]byte("broken"))}
	if err := os.WriteFile(filepath.Join(dir, "broken"), []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []ore.Package{decoded, before} {
		k, err := packs.Get(ctx, p.Digest, filepath.Join(dir, p.Name), nil)
		if err != nil {
			t.Fatal(err)
		}
		k.Close()
	}
	s := Source{Builder: dir, AtHand: func(all []ore.Package) map[ore.Digest]string {
		files := map[ore.Digest]string{}
		for _, p := range all {
			if p.Name == "lying" || p.Name == "broken" {
				files[p.Digest] = filepath.Join(dir, p.Name)
			}
		}
		return files
	}}
	candidates := []plan.Candidate{{Extra: []ore.Package{decoded, lying, gone}}, {Extra: []ore.Package{broken, before, decoded}}}
	rates := plan.Rates{Names: map[string]float64{plan.RemovalName("before"): 1}}
	got, err := s.Extras(ctx, candidates, rates)
	if err != nil || len(got) != 2 || got[decoded.Digest].Programs != 2 || got[lying.Digest].Programs != 1 {
		t.Errorf("decoded %+v, at hand %+v, all %+v, %v", got[decoded.Digest], got[lying.Digest], got, err)
	}
	s.AtHand = nil
	if got, err := s.Extras(ctx, candidates, plan.Rates{}); err != nil || len(got) != 2 || got[before.Digest].Programs != 2 {
		t.Errorf("of packs alone: %+v", got)
	}
}

// FuzzWeigh reads scripts of any kind.
func FuzzWeigh(f *testing.F) {
	f.Add([]byte(prerm))
	f.Add([]byte(postrm))
	f.Add([]byte("a\\\n|b;;&& ) $(`"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if w := Weigh(map[string][]byte{"prerm": script}); w.Scripts != 0 || w.Programs < 0 || w.Programs > len(script) {
			t.Errorf("%+v", w)
		}
	})
}
