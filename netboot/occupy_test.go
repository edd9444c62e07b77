package netboot

import (
	"errors"
	"testing"

	"ore/netboot/keep"
)

// TestOneServerAFolder asks who serves before, while and after somebody does.
func TestOneServerAFolder(t *testing.T) {
	dir := t.TempDir()
	is := func(want bool) {
		t.Helper()
		if got, err := Serving(dir); err != nil || got != want {
			t.Errorf("serving: %v, %v; want %v", got, err, want)
		}
	}
	is(false)
	leave, err := occupy(dir)
	if err != nil {
		t.Fatal(err)
	}
	is(true)
	if _, err := occupy(dir); !errors.Is(err, keep.ErrHeld) {
		t.Errorf("a second server: %v", err)
	}
	is(true)
	if err := leave(); err != nil {
		t.Error(err)
	}
	is(false)
}
