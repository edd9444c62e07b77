package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestCardRate(t *testing.T) {
	const gigabit = 1e9 / 8
	for _, c := range []struct {
		summary string
		cards   map[string][2]string // speed and state of each
		name    string
		want    float64
	}{
		{"no cards", nil, "", 0},
		{"one", map[string][2]string{"eth0": {"1000", "up"}}, "", gigabit},
		{"two alike", map[string][2]string{"eth0": {"1000", "up"}, "eth1": {"1000", "up"}}, "", gigabit},
		{"two of which one is unplugged", map[string][2]string{"eth0": {"1000", "up"}, "eth1": {"10000", "down"}}, "", gigabit},
		{"which of two is not known", map[string][2]string{"eth0": {"1000", "up"}, "eth1": {"10000", "up"}}, "", 0},
		{"the one with the address", map[string][2]string{"eth0": {"1000", "up"}, "eth1": {"10000", "up"}}, "eth0", gigabit},
		{"one that does not tell", map[string][2]string{"eth0": {"-1", "up"}}, "eth0", 0},
		{"another kind of interface", map[string][2]string{"eth0": {"1000", "up"}}, "lo", 0},
	} {
		list := t.TempDir()
		for name, v := range c.cards {
			if err := os.MkdirAll(filepath.Join(list, name, "device"), 0o755); err != nil {
				t.Fatal(err)
			}
			for file, text := range map[string]string{"speed": v[0], "operstate": v[1]} {
				if err := os.WriteFile(filepath.Join(list, name, file), []byte(text+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := os.MkdirAll(filepath.Join(list, "lo"), 0o755); err != nil {
			t.Fatal(err)
		}
		if got := cardRate(list, c.name); got != c.want {
			t.Errorf("%s: %g bytes a second, want %g", c.summary, got, c.want)
		}
	}
	if got := owner(netip.MustParseAddr("127.0.0.1")); got != "lo" {
		t.Errorf("127.0.0.1 is %q's", got)
	}
}
