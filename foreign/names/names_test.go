package names

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestBuiltinTable(t *testing.T) {
	name := regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	for rpm, debian := range RPM() {
		for _, d := range debian {
			if !name.MatchString(d) {
				t.Errorf("%s: %q is no name of a Debian package", rpm, d)
			}
		}
	}
	seen := map[string]bool{}
	for _, line := range strings.Split(builtin, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if seen[f[0]] {
			t.Errorf("%s stands there twice", f[0])
		}
		seen[f[0]] = true
	}
}

func TestDebian(t *testing.T) {
	table := RPM()
	if err := table.Read(strings.NewReader("# ours\nhttpd nginx # not apache\n\nglibc-all\n"), "map"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rpm   string
		want  []string
		known bool
	}{
		{"gcc-c++", []string{"g++"}, true}, {"gcc-c++.x86_64", []string{"g++"}, true}, {"httpd", []string{"nginx"}, true},
		{"glibc-all", nil, true}, {"@core", nil, true}, {"unheard-of", nil, false}, {"python3.11", nil, false},
	} {
		got, known := table.Debian(c.rpm)
		if known != c.known || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v %v, want %v %v", c.rpm, got, known, c.want, c.known)
		}
	}
	if err := table.Read(strings.NewReader("a\n"+strings.Repeat("x", maxLine+1)), "map"); err == nil || !strings.Contains(err.Error(), "read table map: line 2:") {
		t.Error(err)
	}
}
