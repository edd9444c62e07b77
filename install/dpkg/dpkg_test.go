package dpkg

import (
	"bytes"
	"strings"
	"testing"

	"ore/install/tree"
	"ore/squashfs"
)

func entry(path string) tree.Node { return tree.Node{Entry: squashfs.Entry{Path: path}} }

func pkg(t *testing.T, control string, files map[string]string, paths ...string) *Package {
	t.Helper()
	all := map[string][]byte{"control": []byte(control)}
	for name, content := range files {
		all[name] = []byte(content)
	}
	var nodes []tree.Node
	for _, p := range paths {
		nodes = append(nodes, entry(p))
	}
	p, err := New(all, nodes, map[string]string{"etc/a.conf": "0123"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const libA = "Package: liba\nVersion: 1.0-1\nArchitecture: amd64\nMulti-Arch: same\nDescription: a\n long\n"

func TestStatus(t *testing.T) {
	p := pkg(t, libA, map[string]string{"conffiles": "/etc/a.conf\nremove-on-upgrade /etc/old.conf\n"})
	want := "Package: liba\nStatus: install ok unpacked\nConffiles:\n /etc/a.conf 0123\n" +
		"Version: 1.0-1\nArchitecture: amd64\nMulti-Arch: same\nDescription: a\n long\n"
	if got := string(p.Status()); got != want {
		t.Errorf("status:\n%s\nwant:\n%s", got, want)
	}
	p = pkg(t, "Version: 1\nPackage: b\nArchitecture: all\n", nil)
	if got := string(p.Status()); !strings.HasPrefix(got, "Package: b\nStatus: install ok unpacked\n") || strings.Count(got, "Package:") != 1 {
		t.Errorf("a paragraph that does not begin with Package: %q", got)
	}
}

func TestInfoAndList(t *testing.T) {
	p := pkg(t, libA, map[string]string{"postinst": "#!/bin/sh\n", "shlibs": "x"}, ".", "usr", "usr/lib", "usr/lib/liba.so.1")
	info := p.Info()
	if len(info) != 2 || info[0].Name != "liba:amd64.postinst" || info[0].Mode != 0o755 || info[1].Name != "liba:amd64.shlibs" || info[1].Mode != 0o644 {
		t.Errorf("info %+v", info)
	}
	if got, want := string(p.List(map[string]bool{"usr/lib": true})), "/.\n/usr\n/usr/lib/liba.so.1\n"; got != want {
		t.Errorf("list %q, want %q", got, want)
	}
}

func TestIdle(t *testing.T) {
	for _, c := range []struct {
		summary, script string
		want            bool
	}{
		{"only helpers", "#!/bin/sh\nset -e\n# Added by dh\ndpkg-maintscript-helper rm_conffile /etc/x 1.2\\~ -- \"$@\"\n", true},
		{"nothing", "#!/bin/sh\nset -e\nexit 0\n", true},
		{"a command behind the helper", "#!/bin/sh\ndpkg-maintscript-helper rm_conffile /etc/x 1 -- \"$@\" && rm /x\n", false},
		{"a substitution", "#!/bin/sh\ndpkg-maintscript-helper rm_conffile `rm /x` 1 -- \"$@\"\n", false},
		{"a continued line", "#!/bin/sh\ndpkg-maintscript-helper rm_conffile /x \\\n1 -- \"$@\"\n", false},
		{"a real script", "#!/bin/sh\nset -e\nmkdir -p /var/lib/python\n", false},
		{"a program", "\x7fELF", false},
		{"an unknown action", "#!/bin/sh\ndpkg-maintscript-helper finish /x -- \"$@\"\n", false},
	} {
		if got := Idle([]byte(c.script)); got != c.want {
			t.Errorf("%s: %v", c.summary, got)
		}
	}
}

func TestTriggers(t *testing.T) {
	man := pkg(t, "Package: man-db\nVersion: 1\nArchitecture: amd64\n",
		map[string]string{"triggers": "# x\ninterest-noawait /usr/share/man\ninterest ldconfig\nactivate-noawait y\n"})
	list, err := man.Interests()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := NewTriggers([]byte("/usr/share/debianutils/shells.d debianutils/noawait\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		tr.Add(i)
	}
	if got, want := string(tr.File()), "/usr/share/debianutils/shells.d debianutils/noawait\n/usr/share/man man-db/noawait\n"; got != want {
		t.Errorf("File %q, want %q", got, want)
	}
	if got := string(tr.Explicit()["ldconfig"]); got != "man-db\n" {
		t.Errorf("ldconfig: %q", got)
	}
	dash := pkg(t, "Package: x\nVersion: 1\nArchitecture: all\n", nil, "usr/share/debianutils/shells.d/x", "usr/share/man/man1/x")
	all := func(string) bool { return true }
	if got, want := string(tr.Activated([]*Package{dash}, all)), "/usr/share/debianutils/shells.d -\n/usr/share/man -\n"; got != want {
		t.Errorf("activated %q, want %q", got, want)
	}
	only := func(spec string) bool { return spec == "debianutils" }
	if got, want := string(tr.Activated([]*Package{dash}, only)), "/usr/share/debianutils/shells.d -\n"; got != want {
		t.Errorf("activated %q, want %q", got, want)
	}
	bad := pkg(t, libA, map[string]string{"triggers": "interest\n"})
	if _, err := bad.Interests(); err == nil {
		t.Error("a directive without a trigger was taken")
	}
}

func TestDiversions(t *testing.T) {
	d, err := ParseDiversions([]byte("/bin/sh\n/bin/sh.distrib\ndash\n/usr/bin/x\n/usr/bin/x.old\n:\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][3]string{{"dash", "bin/sh", "bin/sh"}, {"bash", "bin/sh", "bin/sh.distrib"}, {"bash", "usr/bin/x", "usr/bin/x.old"}, {"bash", "bin/bash", "bin/bash"}} {
		if got := d.Place(c[0], c[1]); got != c[2] {
			t.Errorf("%s of %s goes to %s, want %s", c[1], c[0], got, c[2])
		}
	}
	if _, err := ParseDiversions([]byte("/a\n/b\n")); err == nil {
		t.Error("two lines were taken")
	}
}

func TestOverrides(t *testing.T) {
	o, err := ParseOverrides([]byte("root mail 2755 /usr/bin/x\n#12 #7 600 /etc/secret\n"), []byte("root:x:0:0::/:\n"), []byte("mail:x:8:\n"))
	if err != nil {
		t.Fatal(err)
	}
	if o["usr/bin/x"] != (Override{0, 8, 0o2755}) || o["etc/secret"] != (Override{12, 7, 0o600}) {
		t.Errorf("overrides %+v", o)
	}
	if _, err := ParseOverrides([]byte("root nobody 755 /x\n"), []byte("root:x:0:0::/:\n"), nil); err == nil {
		t.Error("an unknown group was taken")
	}
}

func FuzzTriggers(f *testing.F) {
	f.Add([]byte("/usr/share/man man-db/noawait\n"), []byte("interest x\n"))
	f.Fuzz(func(t *testing.T, file, control []byte) {
		tr, err := NewTriggers(file)
		if err != nil {
			return
		}
		again, err := NewTriggers(tr.File())
		if err != nil || !bytes.Equal(again.File(), tr.File()) {
			t.Fatalf("%q is read back as %q, %v", file, tr.File(), err)
		}
		p := &Package{Files: map[string][]byte{"triggers": control}, spec: "p"}
		if _, err := p.Interests(); err != nil && !strings.HasPrefix(err.Error(), "triggers file: ") {
			t.Fatal(err)
		}
	})
}

func FuzzDatabase(f *testing.F) {
	f.Add([]byte("/a\n/b\nc\n"), []byte("root root 755 /x\n"), []byte("#!/bin/sh\n"))
	f.Fuzz(func(t *testing.T, diversions, overrides, script []byte) {
		if d, err := ParseDiversions(diversions); err == nil && len(d) > len(diversions) {
			t.Fatal("more diversions than bytes")
		}
		if o, err := ParseOverrides(overrides, []byte("root:x:0:\n"), []byte("root:x:0:\n")); err == nil {
			for name, v := range o {
				if v.Mode > 0o7777 || strings.HasPrefix(name, "//") && len(name) > len(overrides) {
					t.Fatalf("%s: %+v", name, v)
				}
			}
		}
		Idle(script)
	})
}
