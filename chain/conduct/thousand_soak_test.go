//go:build soak

package conduct_test

import "testing"

// TestSoakTenThousandReceivers has 512 MiB in chunks of 512 KiB go to 10,000 hosts
// at 100 Mbit/s each, of whom some die.
func TestSoakTenThousandReceivers(t *testing.T) {
	c := throng{hosts: 10_000, chunks: 1024, chunk: 512 << 10, rate: link100, packet: 512 << 10, seed: 1}
	c.expect(t, 0.90)
	c.killed, c.seed = 20, 2
	c.expect(t, 0.90)
}
