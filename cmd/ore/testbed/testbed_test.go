package testbed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	bed "ore/testbed"
)

// do gives one command line to the command testbed.
func do(t *testing.T, json bool, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := Command(&Shell{Out: &out, JSON: &json, Usage: func(err error) error { return errors.Join(errUsage, err) }})
	c.SetArgs(args)
	c.SilenceErrors, c.SilenceUsage = true, true
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

var errUsage = errors.New("usage")

func TestWholeLife(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("hosts are made of namespaces: this needs root")
	}
	name := fmt.Sprintf("cmd-%d-%d", os.Getpid(), rand.IntN(1e6))
	out, err := do(t, true, "up", "-n", "2", "--name", name, "--link", "1gbit", "--join")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if b, err := bed.Open(name); err == nil {
			b.Down()
		}
	}()
	var i bed.Info
	if err := json.Unmarshal([]byte(out), &i); err != nil || i.Link != 1e9 || len(i.Hosts) != 3 || !i.Own.IsValid() || !i.Kept {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := do(t, false, "crash", "--bed", name, "h2"); err != nil {
		t.Error(err)
	}
	if out, err = do(t, false, "ls"); err != nil || !strings.Contains(out, name) || !strings.Contains(out, "off") || !strings.Contains(out, "1gbit") {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := do(t, false, "exec", "--bed", name, "h2", "--", "true"); err == nil || !strings.Contains(err.Error(), "off") {
		t.Errorf("a command on a host that is off: %v", err)
	}
	if _, err := do(t, false, "exec", "--bed", name, "h1", "--"); !errors.Is(err, errUsage) {
		t.Errorf("no command: %v", err)
	}
	for _, args := range []string{"boot --bed " + name + " h2", "part --bed " + name + " h1 h2", "heal --bed " + name + " h1", "down " + name} {
		if _, err := do(t, false, strings.Fields(args)...); err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
	if _, err := do(t, false, "down", name); err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("down twice: %v", err)
	}
}

func TestRates(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "100mbit": 1e8, "500kbit": 5e5, "1Gbit": 1e9, "2.5gbit": 25e8, "9000bit": 9000} {
		if got, err := parseRate(text); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"100", "100 mbit", "-1mbit", "1bit", "9999gbit", "mbit", "1e9bit"} {
		if _, err := do(t, false, "up", "--link", text); !errors.Is(err, errUsage) || !strings.Contains(err.Error(), "--link") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseRate(f *testing.F) {
	f.Add("100mbit")
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := parseRate(s); err == nil && (r < 0 || r > 1e12) {
			t.Errorf("%q: %d", s, r)
		}
	})
}
