//go:build race

package vnet

// raceEnabled says that the race detector, which multiplies all memory, is on.
const raceEnabled = true
