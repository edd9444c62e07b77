package fleet

import (
	"testing"

	"ore"
	"ore/node/agent"
)

// The plan sees a host as its agent describes it, and knows of what it holds that it is
// there whole; of hosts that nobody has met it knows how many there can be at most.
func TestHostsOfAPlan(t *testing.T) {
	h := seen("a", agent.Facts{Cores: 8, Load: 1.5, Blobs: []ore.Digest{"sha256:held"}}, 3)
	if h.Name != "a" || h.Cores != 8 || h.Load != 1.5 || h.Machines != 3 || h.Holds["sha256:held"] < 1<<50 || h.Holds["sha256:other"] != 0 {
		t.Errorf("%+v", h)
	}
	met := map[string]bool{}
	for _, h := range Unmet(ore.Machines{Count: 3, Resources: ore.Resources{CPUs: 2}}) {
		met[h.Name] = true
		if h.Machines != 1 || h.Cores != 2 {
			t.Errorf("%+v", h)
		}
	}
	if len(met) != 3 {
		t.Errorf("3 machines may be given %v", met)
	}
}
