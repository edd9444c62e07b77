package main

import (
	"strings"
	"testing"

	"ore"
	"ore/job"
)

// Machines are told of the mirror unless that would tell them a password, or
// help them nothing.
func TestMachinesAreToldOfTheMirror(t *testing.T) {
	for _, c := range []struct {
		mirror  string
		network ore.Network
		told    bool
	}{
		{"http://mirror.example.org/debian", ore.NAT, true},
		{"https://192.0.2.7:8080/debian", ore.NAT, true},
		{"http://mirror.example.org/debian", ore.Isolated, false},
		{"http://user:word@mirror.example.org/debian", ore.NAT, false},
		{"http://mirror.example.org/debian?token=word", ore.NAT, false},
		{"http://localhost:9999/debian", ore.NAT, false},
		{"http://127.0.0.1:9999/debian", ore.NAT, false},
		{"file:///srv/debian", ore.NAT, false},
		{"", ore.NAT, false},
	} {
		j := job.Default("bookworm")
		j.Network = c.network
		files, err := (&app{mirror: c.mirror}).own(j)
		if err != nil || (len(files) == 1) != c.told {
			t.Errorf("%s, %s: %d files, %v", c.mirror, c.network, len(files), err)
		}
		if c.told && !strings.Contains(string(files[0].Content), "URIs: "+c.mirror+"\nSuites: bookworm\nComponents: main\n") {
			t.Errorf("%s: %s", c.mirror, files[0].Content)
		}
	}
}
