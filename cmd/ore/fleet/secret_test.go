package fleet

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
)

// TestKeysAreConcealed has keys go to a file that everybody might read, and be read
// from one.
func TestKeysAreConcealed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	s := &Shell{Err: &said}
	if s.warn(name); !strings.Contains(said.String(), "mode 0644") || !strings.Contains(said.String(), "chmod 600") {
		t.Errorf("of keys that all may read is said: %q", said.String())
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.Out = f
	s.conceal()
	if st, err := f.Stat(); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", st.Mode(), err)
	}
	said.Reset()
	if s.warn(name); said.Len() > 0 {
		t.Errorf("of keys that nobody else may read is said: %q", said.String())
	}
}

// TestKeysForAnothersFile has keys go to a file whose mode only another user may
// change: a warning is what there is to give.
func TestKeysForAnothersFile(t *testing.T) {
	f, err := os.Open("/proc/self/status") // everybody may read it, and nobody change its mode (proc(5))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var said bytes.Buffer
	s := &Shell{Out: f, Err: &said}
	if s.conceal(); !strings.Contains(said.String(), "others may read them (mode 0444") {
		t.Errorf("said %q", said.String())
	}
}

// TestUsageOfHosts has what cannot be meant refused before anything is done.
func TestUsageOfHosts(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	s := &Shell{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Usage: func(err error) error { return err }, Version: func() string { return "" }}
	c := Node(s)
	c.SetArgs([]string{"--quota", "5"})
	c.SilenceErrors, c.SilenceUsage = true, true
	if err := c.Execute(); err == nil || !strings.Contains(err.Error(), "write a unit") {
		t.Errorf("--quota 5: %v", err)
	}
	h := Hosts{Engine: hosts}
	if err := h.Use(nil, nil, ore.Job{}); err != errNoHosts {
		t.Errorf("--engine hosts without hosts: %v", err)
	}
	if _, err := h.Local(); err != errNoHosts {
		t.Errorf("before anything is made: %v", err)
	}
}
