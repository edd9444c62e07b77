//go:build system

package testbed

import "testing"

// TestLinksHaveTheirRate measures what one TCP stream gets: a little less than
// the link's rate, since that carries Ethernet's and IP's headers too.
func TestLinksHaveTheirRate(t *testing.T) {
	for _, rate := range []int64{20e6, 100e6} {
		b := up(t, Config{Hosts: 2, Link: rate})
		got, err := b.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			t.Logf("%s -> %s: %.2f Mbit/s of %d", r.From, r.To, r.Bits/1e6, rate/1e6)
			if share := r.Bits / float64(rate); share < 0.88 || share > 1.02 {
				t.Errorf("%s -> %s: %.0f bit/s over a link of %d", r.From, r.To, r.Bits, rate)
			}
		}
	}
}
