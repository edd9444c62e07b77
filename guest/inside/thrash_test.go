package inside

import (
	"slices"
	"testing"
)

// The killer is called for a machine that looks for memory and finds none, for
// some time; not for one that is only busy.
func TestThrasherCallsTheKiller(t *testing.T) {
	for _, c := range []struct {
		summary string
		looks   []vmstat // since the look before
		kills   []int    // the looks that end with a kill
	}{
		{"idle", []vmstat{{}, {}, {}}, nil},
		{"streams files", []vmstat{{100_000, 90_000}, {100_000, 50_000}, {100_000, 10_000}}, nil},
		{"looks a little", []vmstat{{5000, 0}, {5000, 0}, {5000, 0}}, nil},
		{"a moment's trouble", []vmstat{{60_000, 100}, {0, 0}, {60_000, 100}, {0, 0}}, nil},
		{"thrashes", []vmstat{{60_000, 100}, {60_000, 100}}, []int{1}},
		{"a kill takes time to help", []vmstat{{60_000, 0}, {60_000, 0}, {60_000, 0}, {60_000, 0}, {60_000, 0}, {60_000, 0}, {60_000, 0}, {60_000, 0}}, []int{1, 7}},
	} {
		var now vmstat
		var kills []int
		look := 0
		th := thrasher{stat: func() (vmstat, bool) { return now, true }, kill: func() { kills = append(kills, look) }}
		for look = range c.looks {
			now.scanned += c.looks[look].scanned
			now.stolen += c.looks[look].stolen
			th.look()
		}
		if !slices.Equal(kills, c.kills) {
			t.Errorf("%s: killed after looks %v, want %v", c.summary, kills, c.kills)
		}
	}
}

func TestParseVMStat(t *testing.T) {
	v := parseVMStat([]byte("nr_free_pages 11410\npgsteal_kswapd 6521\npgsteal_direct 2418\npgscan_kswapd 1\npgscan_direct 1989398\npgscan_direct_throttle 72\n"))
	if want := (vmstat{scanned: 1989398, stolen: 2418}); v != want {
		t.Errorf("%+v, want %+v", v, want)
	}
}

// A fork bomb is stopped by a number of processes before it has the memory.
func TestMostProcesses(t *testing.T) {
	for _, c := range []struct {
		room   int
		memory int64
		want   int
	}{
		{375, 52 << 20, 104}, {1884, 240 << 20, 480}, {120, 240 << 20, 60}, {300, 30 << 20, 64}, {1 << 20, 64 << 30, 131072}, {1, 1 << 30, 1},
	} {
		if got := mostProcesses(c.room, c.memory); got != c.want {
			t.Errorf("room for %d, %d MiB: %d processes, want %d", c.room, c.memory>>20, got, c.want)
		}
	}
}
