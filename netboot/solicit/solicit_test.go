package solicit

import (
	"bytes"
	"testing"
)

func TestPackets(t *testing.T) {
	for _, c := range []struct {
		summary string
		packet  []byte
		want    bool
	}{
		{"a solicitation", []byte{133, 0, 1, 2, 0, 0, 0, 0}, true},
		{"with an option", []byte{133, 0, 1, 2, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 9}, true},
		{"an advertisement", make([]byte, 16), false},
		{"another code", []byte{133, 1, 1, 2, 0, 0, 0, 0}, false},
		{"a part", []byte{133, 0, 1}, false},
		{"nothing", nil, false},
	} {
		if got := asks(c.packet); got != c.want {
			t.Errorf("%s: %v", c.summary, got)
		}
	}
	// No lifetime, no flags, no options: no router, no address, no DHCPv6.
	if want := append([]byte{134}, make([]byte, 15)...); !bytes.Equal(advertisement(), want) {
		t.Errorf("advertisement: %x", advertisement())
	}
}
