package dpkg

import (
	"strings"
	"testing"
)

// made returns packages from lines "name: field=value; field=value; preinst".
func made(t *testing.T, text string) []*Package {
	t.Helper()
	var list []*Package
	for line := range strings.Lines(strings.TrimSpace(text)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		files := map[string][]byte{}
		control := "Package: " + name + "\nVersion: 1\nArchitecture: all\n"
		for part := range strings.SplitSeq(rest, ";") {
			k, v, ok := strings.Cut(strings.TrimSpace(part), "=")
			switch {
			case ok:
				control += k + ": " + v + "\n"
			case k == "preinst":
				files["preinst"] = []byte("#!/bin/sh\ntouch /x\n")
			}
		}
		files["control"] = []byte(control)
		p, err := New(files, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func names(list []*Package) string {
	var s []string
	for _, p := range list {
		s = append(s, p.Name)
	}
	return strings.Join(s, " ")
}

func TestWaves(t *testing.T) {
	for _, c := range []struct{ summary, packages, want string }{
		{"no preinst, no order", "a: Pre-Depends=b\nb:", "a b / "},
		{"a preinst that needs another package", "a: Pre-Depends=b; preinst\nb: Depends=c\nc:\nd: Depends=a", "b c / b c | a d / "},
		{"a pre-dependency by a virtual name", "a: Pre-Depends=v; preinst\nb: Provides=v", "b / b | a / "},
		{"two levels", "a: Pre-Depends=b; preinst\nb: Pre-Depends=c; preinst\nc:", "c / c | b / b | a / "},
		{"what nobody waits for comes last", "z: preinst\na: Pre-Depends=b; preinst\nb:\nc:", "b / b | z a c / "},
		{"a pre-dependency from the base", "a: Pre-Depends=libc6; preinst", "a / "},
		{"a cycle", "a: Pre-Depends=b; preinst\nb: Pre-Depends=a; preinst", "a b / "},
	} {
		var got []string
		for _, w := range Waves(made(t, c.packages)) {
			got = append(got, names(w.Unpack)+" / "+names(w.First))
		}
		if s := strings.Join(got, " | "); s != c.want {
			t.Errorf("%s: %q, want %q", c.summary, s, c.want)
		}
	}
}

func TestPreinstOrder(t *testing.T) {
	set := made(t, "a: preinst\nbase-passwd: preinst\nc: Pre-Depends=d; preinst\nd: preinst\ne:")
	if got, want := names(Preinsts(set)), "base-passwd a d c"; got != want {
		t.Errorf("order %q, want %q", got, want)
	}
}

func TestReplaces(t *testing.T) {
	set := made(t, "a: Replaces=b (<< 2), c (<< 1)\nb:\nc:")
	if !Replaces(set[0], set[1]) || Replaces(set[0], set[2]) || Replaces(set[1], set[0]) {
		t.Error("Replaces with versions")
	}
}

func TestAutomatic(t *testing.T) {
	set := made(t, "apt: Depends=libapt\nlibapt:\nbash: Essential=yes; Depends=libc\nlibc:\nmount: Priority=required; Depends=libmount\nlibmount:")
	if got, want := names(Automatic(set)), "libapt libmount"; got != want {
		t.Errorf("automatic %q, want %q", got, want)
	}
}
