package inside

import "testing"

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
