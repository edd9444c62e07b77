//go:build soak

package conduct_test

import "testing"

// TestSoakTenThousandReceivers has 512 MiB in chunks of 1 MiB go to 10,000 hosts at
// 100 Mbit/s each, and the same again with hosts that die. It takes 4 GB of memory.
func TestSoakTenThousandReceivers(t *testing.T) {
	c := throng{hosts: 10_000, chunks: 512, chunk: 1 << 20, rate: link100, packet: 1 << 20, seed: 1}
	c.expect(t, 0.88)
	c.killed, c.seed = 20, 2
	c.expect(t, 0.88)
}
