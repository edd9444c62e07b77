//go:build system

package conduct_test

import "testing"

// TestAThousandReceivers has 64 MiB in chunks of 64 KiB go to 1,000 hosts at
// 100 Mbit/s each: undisturbed, with hosts whose processes are killed, and with hosts
// that vanish.
func TestAThousandReceivers(t *testing.T) {
	c := throng{hosts: 1000, chunks: 1024, chunk: 64 << 10, rate: link100, packet: 64 << 10, seed: 1}
	c.expect(t, 0.95)
	c.killed, c.seed = 10, 2
	c.expect(t, 0.93)
	c.killed, c.gone, c.seed = 0, 5, 3
	c.expect(t, 0.90)
}
