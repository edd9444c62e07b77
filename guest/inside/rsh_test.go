package inside

import (
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ore/guest"
	"ore/guest/wire"
)

// On other machines a user is who it is on its own; root may be anybody.
func TestLaunchUser(t *testing.T) {
	const nobody = 65534
	for _, c := range []struct {
		asked string
		uid   uint32
		want  string // "" for a refusal
	}{
		{"", nobody, "65534"},
		{"65534", nobody, "65534"},
		{"nobody", nobody, "65534"},
		{"root", nobody, ""},
		{"0", nobody, ""},
		{"daemon", nobody, ""},
		{"no-such-user", nobody, ""},
		{"", 0, "0"},
		{"nobody", 0, "nobody"},
	} {
		got, err := launchUser(c.asked, c.uid)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%d asks for %q: %q, %v", c.uid, c.asked, got, err)
		}
	}
}

func TestParseRsh(t *testing.T) {
	shell := func(words string) []string { return []string{"/bin/sh", "-c", words} }
	for _, c := range []struct {
		line string
		want launchRequest
		bad  string
	}{
		{line: "m1 hostname", want: launchRequest{To: "m1", Args: shell("hostname"), Input: true}},
		{line: "-x m1 a b  c", want: launchRequest{To: "m1", Args: shell("a b c"), Input: true}},
		{line: "-n m1 true", want: launchRequest{To: "m1", Args: shell("true")}},
		{line: "-qxn -l user -o BatchMode=yes m1 -v", want: launchRequest{To: "m1", User: "user", Args: shell("-v")}},
		{line: "-luser -p22 m1 x", want: launchRequest{To: "m1", User: "user", Args: shell("x"), Input: true}},
		{line: "user@m1 x", want: launchRequest{To: "m1", User: "user", Args: shell("x"), Input: true}},
		{line: "-- m1 x", want: launchRequest{To: "m1", Args: shell("x"), Input: true}},
		{line: "m1", want: launchRequest{To: "m1", Args: []string{"/bin/sh"}, Input: true}},
		{line: "-x", bad: "no machine"},
		{line: "-l", bad: "a value must follow"},
		{line: "-Z m1", bad: "not one of ssh's"},
		{line: "", bad: "no machine"},
	} {
		got, err := parseRsh(strings.Fields(c.line))
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%q: error %v, want %q", c.line, err, c.bad)
			}
		} else if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, %v", c.line, got, err)
		}
	}
}

func FuzzParseRsh(f *testing.F) {
	f.Add("-x -l user m1 hostname")
	f.Add("-o A=b -nqu@m1")
	f.Fuzz(func(t *testing.T, line string) {
		q, err := parseRsh(strings.Fields(line))
		if err == nil && len(q.Args) == 0 {
			t.Errorf("%q: no command and no error", line)
		}
	})
}

func TestMachineNamed(t *testing.T) {
	s := &server{identity: guest.Identity{
		Hosts:   []guest.Host{{Name: "m0", IP: "10.0.0.2"}, {Name: "m1", IP: "10.0.0.3"}},
		Network: &guest.Network{Search: "job.internal"},
	}}
	for called, want := range map[string]string{
		"m1": "m1", "10.0.0.3": "m1", "m1.job.internal": "m1", "m1.example.org": "m1.example.org", "10.0.0.9": "10.0.0.9",
	} {
		if got := s.machineNamed(called); got != want {
			t.Errorf("%s: got %s, want %s", called, got, want)
		}
	}
}

func TestExitOf(t *testing.T) {
	for status, want := range map[unix.WaitStatus]wire.Exit{
		0:         {},
		3 << 8:    {Code: 3},
		255 << 8:  {Code: 255},
		9:         {Code: 137, Signal: "SIGKILL"},
		11 | 0x80: {Code: 139, Signal: "SIGSEGV"}, // with a core
		34:        {Code: 162, Signal: "SIG34"},
	} {
		if got := exitOf(status); got != want {
			t.Errorf("status %#x: got %v, want %v", status, got, want)
		}
	}
}

func TestLayout(t *testing.T) {
	l := Layout{Job: "/x/job", Run: "/x/run"}
	for dir, want := range map[string]string{
		"": "/x/job", "/job": "/x/job", "/job/a": "/x/job/a", "/jobs": "/jobs", "/": "/", "/job/../etc": "/etc", "tmp": "/tmp",
	} {
		if got := l.resolve(dir); got != want {
			t.Errorf("%q: got %s, want %s", dir, got, want)
		}
	}
}

func TestIsVariable(t *testing.T) {
	for name, want := range map[string]bool{
		"A": true, "_a9": true, "": false, "9a": false, "a-b": false, "../x": false, "A=B": false, "é": false,
		strings.Repeat("x", 129): false,
	} {
		if isVariable(name) != want {
			t.Errorf("%q: not %v", name, want)
		}
	}
}
