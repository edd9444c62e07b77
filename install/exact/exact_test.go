package exact

import (
	"strings"
	"testing"

	"ore"
	"ore/image"
	"ore/install/dpkg"
)

// made makes a package of its name, files of its control member, and paths.
func made(t *testing.T, name string, files map[string]string, paths ...string) *Facts {
	t.Helper()
	all := map[string][]byte{"control": []byte("Package: " + name + "\nVersion: 1\nArchitecture: all\n")}
	for k, v := range files {
		if k == "control" {
			v = string(all["control"]) + v
		}
		all[k] = []byte(v)
	}
	p, err := dpkg.New(all, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Of(p, paths, Known())
}

func TestScripts(t *testing.T) {
	const python = "#!/bin/sh\nset -e\n# Automatically added by dh_python3\nif command -v py3clean >/dev/null 2>&1; then\n py3clean -p x\nfi\n# End automatically added section\nexit 0\n"
	for _, c := range []struct {
		summary, script string
		add, remove     bool // can it be
	}{
		{"nothing", "#!/bin/sh\nset -e\n", true, true},
		{"a known section", python, true, true},
		{"an unknown section", strings.Replace(python, "dh_python3", "dh_icons/13.11.4", 1), false, false},
		{"a section that leaves folders", strings.Replace(python, "dh_python3", "dh_installtmpfiles/13.11.4", 1), true, false},
		{"a command behind a section", python + "rm -rf /etc/x\n", false, false},
		{"alternatives", "#!/bin/sh\nset -e\nif [ \"$1\" = \"remove\" ] || [ \"$1\" = \"deconfigure\" ]; then\n\tupdate-alternatives --remove x \\\n  /usr/bin/y\nfi\n", true, true},
		{"a case", "#!/bin/sh\ncase \"$1\" in\n  configure|abort-upgrade)\n  update-alternatives --install /a b /c 1\n ;;\n *)\n echo \"what is $1\" >&2\n exit 1\n;;\nesac\n", true, true},
		{"something behind alternatives", "update-alternatives --remove x /y; rm /z\n", false, false},
		{"something in an echo", "echo `rm /z`\n", false, false},
		{"output into a file", "echo x > /etc/y\n", false, false},
		{"a user", "adduser --system x\n", false, false},
	} {
		f := made(t, "p", map[string]string{"postinst": c.script})
		add, remove := f.Unknown()
		if add == c.add || remove == c.remove {
			t.Errorf("%s: add %v, remove %v: %q, %q", c.summary, !add, !remove, f.add, f.remove)
		}
	}
}

func TestApart(t *testing.T) {
	none := map[string]string{}
	for _, c := range []struct {
		summary        string
		stays, changes *Facts
		why            string
	}{
		{"strangers", made(t, "a", map[string]string{"postinst": "x /usr/share/a/b\n"}), made(t, "b", none, "usr/bin/b"), ""},
		{"a program", made(t, "a", map[string]string{"postinst": "if command -v tool; then :; fi\n"}), made(t, "b", none, "usr/bin/tool"), "mentions tool"},
		{"a name in a comment", made(t, "a", map[string]string{"postinst": "# tool\n"}), made(t, "b", none, "usr/bin/tool"), ""},
		{"a package", made(t, "a", map[string]string{"postinst": "dpkg -s bee\n"}), made(t, "bee", none), "mentions bee"},
		{"a folder", made(t, "a", map[string]string{"postinst": "run-parts \"/etc/a.d/\"\n"}), made(t, "b", none, "etc/a.d/x/b"), "mentions /etc/a.d"},
		{"a deep folder", made(t, "a", map[string]string{"postinst": "ls /usr/share/a.d/*\n"}), made(t, "b", none, "usr/share/a.d/x/b"), "mentions /usr/share/a.d"},
		{"everybody's folder", made(t, "a", map[string]string{"postinst": "ls /usr/share/doc\n"}), made(t, "b", none, "usr/share/doc/b/x"), ""},
		{"a file trigger", made(t, "a", map[string]string{"triggers": "interest-noawait /usr/lib/odd\n"}), made(t, "b", none, "usr/lib/odd/b"), "activates /usr/lib/odd"},
		{"beside a file trigger", made(t, "a", map[string]string{"triggers": "interest /usr/lib/odd\n"}), made(t, "b", none, "usr/lib/oddity"), ""},
		{"a trigger", made(t, "a", map[string]string{"triggers": "interest odd\n"}), made(t, "b", map[string]string{"triggers": "activate-noawait odd\n"}), "activates odd"},
		{"ldconfig", made(t, "libc-bin", map[string]string{"triggers": "interest-noawait ldconfig\n"}), made(t, "b", map[string]string{"triggers": "activate-noawait ldconfig\n"}), ""},
		{"a replacement", made(t, "a", none), made(t, "b", map[string]string{"control": "Replaces: a (<< 2)\n"}), "replace files"},
		{"an old replacement", made(t, "a", none), made(t, "b", map[string]string{"control": "Replaces: a (<< 1)\n"}), ""},
	} {
		for _, s := range []Sets{{Common: []*Facts{c.stays}, Extra: []*Facts{c.changes}}, {Common: []*Facts{c.stays}, Missing: []*Facts{c.changes}}} {
			if why := s.Apart(); c.why == "" && why != "" || !strings.Contains(why, c.why) {
				t.Errorf("%s: %q, want %q", c.summary, why, c.why)
			}
		}
	}
}

func TestMemory(t *testing.T) {
	odd := made(t, "odd", map[string]string{"postinst": "adduser x\n", "postrm": "true\n"})
	sets := Sets{Extra: []*Facts{odd}}
	if sets.Known() == "" || (Sets{Missing: []*Facts{odd}}).Known() == "" {
		t.Fatal("a script of its own is known")
	}
	m, err := ReadMemory(sets.Tried().With(Sets{Missing: []*Facts{odd}}.Tried()).Text())
	if err != nil {
		t.Fatal(err)
	}
	if v := m[Scripts(odd.Package)]; !v.Add || !v.Remove || v.Package != "odd" || len(m) != 1 {
		t.Errorf("remembered %+v", m)
	}
	again := Of(odd.Package, nil, m)
	if why := (Sets{Extra: []*Facts{again}}).Known(); why != "" {
		t.Error(why)
	}
	bad := Of(odd.Package, nil, m.With(m.Broken()))
	if why := (Sets{Missing: []*Facts{bad}}).Known(); !strings.Contains(why, "traces") {
		t.Errorf("a broken package is added: %q", why)
	}
	left, err := ReadMemory(string(Scripts(odd.Package)) + " remove odd x /etc/x\n")
	if err != nil {
		t.Fatal(err)
	}
	s := Sets{Extra: []*Facts{Of(odd.Package, nil, left)}}
	if accounts, paths := s.Leaves(); len(accounts) != 1 || accounts[0] != "x" || len(paths) != 1 || paths[0] != "/etc/x" {
		t.Errorf("leaves %v %v", accounts, paths)
	}
	s.Common = []*Facts{made(t, "user", map[string]string{"postinst": "chown x: /var/lib/user\n"})}
	if why := s.Apart(); !strings.Contains(why, "mentions x") {
		t.Errorf("an account goes that somebody uses: %q", why)
	}
	if _, err := ReadMemory("x both y\n"); err == nil {
		t.Error("a line without a digest")
	}
}

func TestTies(t *testing.T) {
	const head = "auto\n/usr/bin/x\nx.1\n/usr/share/x.1\n\n"
	for text, want := range map[string]bool{
		head + "/a\n5\n/a.1\n/b\n3\n\n\n":          false,
		head + "/a\n5\n/a.1\n/b\n5\n\n\n":          true,
		head + "/a\n3\n/a.1\n/b\n3\n\n/c\n4\n\n\n": false,
		"auto\n/x\n\n/a\n1\n\n":                    false,
	} {
		if got, err := Ties(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if _, err := Ties(head + "/a\nhigh\n\n"); err == nil {
		t.Error("a priority that is no number")
	}
}

func TestAlike(t *testing.T) {
	base := ore.Package{Name: "base", Base: true}
	env := ore.Environment{Packages: []ore.Package{base}}
	m := image.Manifest{Environment: env, Layers: make([]image.Layer, 2)}
	if why := Alike(m, env); why != "" {
		t.Error(why)
	}
	for summary, change := range map[string]func(m *image.Manifest){
		"base": func(m *image.Manifest) {
			m.Environment.Packages = []ore.Package{{Name: "base", Version: "2", Base: true}}
		},
		"steps":   func(m *image.Manifest) { m.Environment.Steps = []ore.Step{{Name: "x"}} },
		"layers":  func(m *image.Manifest) { m.Layers = make([]image.Layer, image.MaxLayers) },
		"alone":   func(m *image.Manifest) { m.Layers = m.Layers[:1] },
		"sources": func(m *image.Manifest) { m.Environment.Sources = []ore.LockedSource{{URI: "http://example.org"}} },
	} {
		c := m
		change(&c)
		if Alike(c, env) == "" {
			t.Errorf("%s: a candidate", summary)
		}
	}
}

func TestHas(t *testing.T) {
	list := []ore.Package{{Name: "a", Version: "1"}, {Name: "b", Version: "1", Arch: "all"}, {Name: "b", Version: "1", Arch: "amd64", Digest: "x"}}
	for _, p := range list {
		if !Has(list, p) {
			t.Errorf("%v is not there", p)
		}
	}
	if Has(list, ore.Package{Name: "b", Version: "1", Arch: "amd64", Digest: "y"}) || Has(list, ore.Package{Name: "c"}) {
		t.Error("others are there")
	}
}

func FuzzJudge(f *testing.F) {
	f.Add("#!/bin/sh\nset -e\n# Automatically added by dh_python3\nx\n# End automatically added section\n", "rm -rf /")
	f.Fuzz(func(t *testing.T, plain, command string) {
		// What is refused stays refused, whatever harmless lines come before it.
		if add, _ := judge(command); add == "" || strings.Contains(plain, sectionStart) || strings.Contains(command, "#") || strings.HasSuffix(strings.TrimRight(plain, "\r"), "\\") {
			return
		}
		if add, _ := judge(plain + "\n" + command); add == "" {
			t.Fatalf("%q is known behind %q", command, plain)
		}
	})
}

func FuzzMemory(f *testing.F) {
	f.Add(known)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ReadMemory(text)
		if err != nil {
			return
		}
		again, err := ReadMemory(m.Text())
		if err != nil || again.Text() != m.Text() {
			t.Fatalf("%q becomes %q: %v", m.Text(), again.Text(), err)
		}
	})
}

func FuzzTies(f *testing.F) {
	f.Add("auto\n/x\n\n/a\n1\n\n")
	f.Fuzz(func(t *testing.T, text string) { _, _ = Ties(text) }) // it must not panic
}
