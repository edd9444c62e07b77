package agent

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	a, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeAuthority(text)
	if err != nil {
		t.Fatal(err)
	}
	k, err := again.Agent("h", "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	r := strings.NewReader(string(line) + "\nrest")
	if got, err := ReadKeys(r); err != nil || got != k || r.Len() != len("rest") {
		t.Errorf("read %v, %d bytes left, %v", got == k, r.Len(), err)
	}
	for _, bad := range []string{"", "{}", "x\n", `{"ca":"x"}`, string(line[:100]), strings.Repeat(" ", maxKeys+1)} {
		if _, err := ReadKeys(strings.NewReader(bad)); err == nil {
			t.Errorf("%.20q were taken for keys", bad)
		}
	}
	if _, err := DecodeAuthority([]byte(k.Certificate + k.Key)); err == nil {
		t.Error("an agent's keys were taken for an authority's")
	}
}

func TestTargets(t *testing.T) {
	for said, want := range map[string]Target{
		"node1": {Name: "node1", Addr: "node1:7447"}, "node1:8": {Name: "node1", Addr: "node1:8"},
		"10.0.0.1": {Name: "10.0.0.1", Addr: "10.0.0.1:7447"}, "::1": {Name: "::1", Addr: "[::1]:7447"},
		"[::1]:9": {Name: "::1", Addr: "[::1]:9"}, "n=10.0.0.1:9": {Name: "n", Addr: "10.0.0.1:9", Said: "n"},
	} {
		if want.Said == "" {
			want.Said = said
		}
		if got, err := ParseTarget(said); err != nil || got != want {
			t.Errorf("%s: %+v, %v", said, got, err)
		}
	}
	for _, bad := range []string{"", "a:b:c", ":7", "n=", "[x"} {
		if got, err := ParseTarget(bad); err == nil {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}

func TestLimitsOfAControlGroup(t *testing.T) {
	root := t.TempDir()
	for p, s := range map[string]string{"a/memory.max": "1000", "a/memory.current": "400", "a/b/memory.max": "max", "a/b/memory.current": "300"} {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if limit, left := limits(root, "0::/a/b\n"); limit != 1000 || left != 600 {
		t.Errorf("limit %d, left %d", limit, left)
	}
}

func FuzzReadKeys(f *testing.F) {
	f.Add([]byte(`{"ca":"x","certificate":"y","key":"z"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ReadKeys(bytes.NewReader(b)); err == nil {
			if _, err := k.server(); err != nil {
				t.Errorf("taken, but no agent can use them: %v", err)
			}
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	f.Add("n=[::1]:7")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := ParseTarget(s); err == nil {
			if _, _, err := net.SplitHostPort(got.Addr); err != nil || got.Name == "" {
				t.Errorf("%q gives %+v", s, got)
			}
		}
	})
}
