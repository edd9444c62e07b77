//go:build system

package serve_test

import "testing"

// The numbers that the project promises.

func TestTwoHundredClientsAskAtOnce(t *testing.T) { manyClients(t, 200, 20) }

func TestFiftyKills(t *testing.T) { killServer(t, 50) }
