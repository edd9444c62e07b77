//go:build system

package deb

import "testing"

// TestSameSetsAsAptWhole is TestSameSetAsApt with two hundred packages and sixty
// combinations: five to ten minutes.
func TestSameSetsAsAptWhole(t *testing.T) {
	newOracle(t).compare(sample{single: 200, pairs: 40, sets: 20})
}
