package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	off := false
	for _, c := range []struct {
		text string
		want Settings
	}{
		{"", Settings{}},
		{"# nothing\n", Settings{}},
		{"quota: 50G\nhedge: false\n", Settings{Quota: 50 << 30, Hedge: &off}},
		{"prepare: 2m\n", Settings{Prepare: Time(2 * time.Minute)}},
		{
			"mirror: https://mirror.example.org/debian\nsuperset: true\ntrusted_keys: keys\ncaches:\n- url: oci://registry.example.org/ore\n- {url: https://cache.example.org:7443, token_file: ~/token, ca: /ca.pem, push: true}\n",
			Settings{
				Mirror: "https://mirror.example.org/debian", Superset: true, TrustedKeys: "DIR/keys",
				Caches: []Cache{
					{URL: "oci://registry.example.org/ore"},
					{URL: "https://cache.example.org:7443", TokenFile: "/home/somebody/token", CA: "/ca.pem", Push: true},
				},
			},
		},
	} {
		path := filepath.Join(t.TempDir(), "site.yaml")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path, "/home/somebody")
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		got.TrustedKeys = strings.Replace(got.TrustedKeys, filepath.Dir(path), "DIR", 1)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%q: %s", c.text, d)
		}
	}
}

func TestRefusals(t *testing.T) {
	for text, words := range map[string]string{
		"cache: here\n":               "cache",
		"quota: much\n":               "quota \"much\"",
		"mirror: a\nquota: -1\n":      "line 2",
		"mirror: a\nprepare: soon\n":  "line 2: time \"soon\"",
		"prepare: -1m\n":              "write it like 90s or 2m",
		"superset: perhaps\n":         "line 1",
		"caches:\n- push: true\n":     "url",
		"mirror: a\n---\nmirror: b":   "document",
		"mirror: [a\n":                "line",
		"caches: [{url: a, ur: b}]\n": "ur",
		"slurm: {partitoin: a}\n":     "partitoin",
		"slurm: {extra: [-N4]}\n":     "slurm.extra",
	} {
		if _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v, want something of %q", text, err, words)
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	env := map[string]string{"HOME": dir}
	get := func(k string) string { return env[k] }
	if p := Find(get); p != "" && p != system {
		t.Errorf("found %q in an empty home", p)
	}
	own := filepath.Join(dir, ".config", "ore", "site.yaml")
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if p := Find(get); p != own {
		t.Errorf("found %q, want %q", p, own)
	}
	env[Variable] = "/named"
	if p := Find(get); p != "/named" {
		t.Errorf("found %q, want the one that is named", p)
	}
	if _, err := Read("/named/and/missing", dir); err == nil || !strings.Contains(err.Error(), Variable) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("mirror: a\ncaches: [{url: b}]\nquota: 1G\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parse(b)
		if err == nil && s.Quota < 0 {
			t.Errorf("quota %d", s.Quota)
		}
	})
}
