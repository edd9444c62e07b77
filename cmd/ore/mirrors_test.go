package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/deb"
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

// Without a mirror that is named, they are told of those of the host.
func TestMachinesAreToldOfTheHostsMirrors(t *testing.T) {
	const ours = "Types: deb\nURIs: http://m.example.org/debian\nSuites: bookworm\nComponents: main contrib\n"
	for _, c := range []struct{ summary, sources, want string }{
		{"nothing is configured", "", ""},
		{"two, one with a password", "deb http://m.example.org/debian bookworm main contrib\ndeb http://u:p@s.example.org/debian bookworm-security main\n", ours},
		{"two", "deb http://m.example.org/debian bookworm main contrib\ndeb https://s.example.org/debian bookworm-security main\n",
			ours + "\nTypes: deb\nURIs: https://s.example.org/debian\nSuites: bookworm-security\nComponents: main\n"},
		{"another suite", "deb http://m.example.org/debian focal main\n", ""},
		{"only here", "deb http://127.0.0.1:9999/debian bookworm main\n", ""},
		{"on the disk", "deb file:///srv/debian bookworm main\n", ""},
	} {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "etc/apt"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc/apt/sources.list"), []byte(c.sources), 0o600); err != nil {
			t.Fatal(err)
		}
		files, err := aptFiles(ore.NAT, deb.Config{Root: root, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}})
		if err != nil || (len(files) == 1) != (c.want != "") || len(files) == 1 && string(files[0].Content) != c.want {
			t.Errorf("%s: %v, %+v", c.summary, err, files)
		}
	}
}
