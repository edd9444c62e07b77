package draft

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		`a b  c`:                  {"a", "b", "c"},
		`--gecos="A B" 'c d' # x`: {"--gecos=A B", "c d"},
		`a\ b "c\"d" ''`:          {"a b", `c"d`, ""},
		`open "quote x`:           {"open", "quote x"},
		`a#b #c`:                  {"a#b"},
		``:                        nil,
	} {
		if d := cmp.Diff(want, Words(line)); d != "" {
			t.Errorf("%s: %s", line, d)
		}
	}
}

func TestOption(t *testing.T) {
	o := Option([]string{"/", "--size=5", "more", "--grow", "--label", "x", "--odd", "y", "--boot=no", "--utc=yes"}, "grow")
	o.Spare("boot", "yes")
	o.Spare("utc", "on", "yes")
	if o.Get("size") != "5" || !o.Has("grow") || o.Get("label") != "x" || len(o.Rest) != 2 {
		t.Errorf("%+v", o)
	}
	if d := cmp.Diff([]string{"--odd", "--boot", "more"}, o.Left(1)); d != "" {
		t.Error(d)
	}
}

// What is quoted is one word of the shell, whatever it holds.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"a", "a b", "it's", "$(x)", "`x`", "", "a\\", "-n", "!x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) {
			return
		}
		out, err := exec.Command("/bin/sh", "-c", "printf %s "+Quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q became %q: %v", s, out, err)
		}
	})
}

// Names from outside reach the shell only as names.
func TestAccountsAreNames(t *testing.T) {
	d := &Draft{}
	p := d.At("f", 1)
	p.Account(User{Name: "a;reboot"})
	p.Account(User{Name: "-r"})
	p.Account(User{Name: "ok", Full: "it's; reboot", Groups: []string{"g", "$(x)"}})
	p.Group("a b", "")
	p.Password("root", "$6$x y", true)
	p.Zone("../../etc/shadow")
	p.Locale("x;y")
	p.Service("a b", true)
	if len(d.Steps) != 1 || !strings.Contains(d.Steps[0].Run, `-c 'it'\''s; reboot' -G g ok`) {
		t.Errorf("%+v", d.Steps)
	}
	if len(d.Left) != 8 {
		t.Errorf("%v", d.Left)
	}
}
