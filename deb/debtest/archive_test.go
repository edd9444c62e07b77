package debtest_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ore/deb/debtest"
)

func TestDpkgReadsThePackages(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg-deb is the judge of this test, and this host does not have it")
	}
	p := debtest.Package{Name: "x", Version: "1:2-3", Fields: map[string]string{"Depends": "y (>= 1)"},
		Files: map[string]string{"usr/share/x/odd": "odd", "usr/share/x/even": "even"}, Scripts: map[string]string{"postinst": "#!/bin/sh\nexit 0\n"}}
	data, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{"--field Depends": "y (>= 1)", "--contents": "./usr/share/x/even", "--info": "postinst"} {
		words := strings.Fields(args)
		cmd := exec.Command("dpkg-deb", append([]string{words[0], path}, words[1:]...)...)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("dpkg-deb %s: %v, %q does not say %q", args, err, out, want)
		}
	}
}

// TestSameBytes makes a package twice.
func TestSameBytes(t *testing.T) {
	p := debtest.Package{Name: "x", Files: map[string]string{"a/b": "1", "c": "2"}, Fields: map[string]string{"A": "1", "B": "2"}}
	one, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	two, err := p.Build()
	if err != nil || string(one) != string(two) {
		t.Errorf("the same description gives other bytes (%v)", err)
	}
}

// TestFaults makes sure that every fault does what its name says.
func TestFaults(t *testing.T) {
	a := debtest.New(t, debtest.Package{Name: "x"})
	url := a.URL + "/dists/" + debtest.Suite + "/main/binary-amd64/Packages"
	get := func() (int, string, error) {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), err
	}
	_, whole, err := get()
	if err != nil || !strings.Contains(whole, "Package: x") {
		t.Fatalf("without a fault: %q, %v", whole, err)
	}
	for _, test := range []struct {
		name  string
		fault debtest.Fault
		ok    func(code int, body string, err error) bool
	}{
		{"down", debtest.Down, func(code int, _ string, _ error) bool { return code == http.StatusServiceUnavailable }},
		{"missing", debtest.Missing("Packages"), func(code int, _ string, _ error) bool { return code == http.StatusNotFound }},
		{"corrupted", debtest.Corrupted("Packages"), func(_ int, body string, _ error) bool { return body != whole && len(body) == len(whole) }},
		{"short", debtest.Short("Packages"), func(_ int, body string, err error) bool { return err == nil && body == whole[:len(whole)/2] }},
		{"cut", debtest.Cut("Packages"), func(_ int, body string, err error) bool { return err != nil && body == whole[:len(whole)/2] }},
		{"elsewhere", debtest.Missing("nowhere"), func(_ int, body string, _ error) bool { return body == whole }},
		{"none", nil, func(_ int, body string, _ error) bool { return body == whole }},
	} {
		a.Break(test.fault)
		if code, body, err := get(); !test.ok(code, body, err) {
			t.Errorf("%s: status %d, %d of %d bytes, %v", test.name, code, len(body), len(whole), err)
		}
	}
	if n := len(a.Requests()); n != 8 {
		t.Errorf("%d requests are remembered, want 8", n)
	}
}
