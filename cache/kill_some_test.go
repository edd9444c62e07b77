//go:build !system

package cache

import "testing"

func TestKilledAtAnyMoment(t *testing.T) { testKills(t, 8) }
