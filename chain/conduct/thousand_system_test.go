//go:build system

package conduct_test

import "testing"

// TestAThousandReceivers has 64 MiB in chunks of 64 KiB go to 1,000 hosts at
// 100 Mbit/s each: undisturbed, with hosts whose processes are killed, with hosts
// that vanish, and, with four times as much, beside one slow host.
func TestAThousandReceivers(t *testing.T) {
	calm := calmly(1000, 1024)
	calm.expect(t, 0.95)
	c := calm
	c.killed, c.seed = 10, 2
	c.expect(t, 0.93)
	c = calm
	c.gone, c.seed = 5, 3
	c.expect(t, 0.90)
	c = calm
	c.chunk, c.packet, c.slow, c.seed = 256<<10, 256<<10, 1, 4
	c.expect(t, 0.75)
}
