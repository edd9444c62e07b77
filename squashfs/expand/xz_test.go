package expand

import (
	"errors"
	"testing"
)

func TestXZBlock(t *testing.T) {
	head := func(b ...byte) []byte {
		x := append([]byte(xzMagic), 0, 1, 0, 0, 0, 0)
		return append(append(x, b...), make([]byte, 16)...)
	}
	for summary, b := range map[string][]byte{
		"empty": nil, "no block": head(0), "longer than all": head(255), "two filters": head(2, 1, 0x21, 1, 8),
		"x86 filter": head(2, 0, 4, 1, 8), "dictionary code": head(2, 0, 0x21, 1, 41), "endless size": head(1, 0x80, 0xff, 0xff, 0xff, 0xff),
	} {
		if _, _, err := xzBlock(b); !errors.Is(err, errXZ) {
			t.Errorf("%s: error %v", summary, err)
		}
	}
	if dict, _, err := xzBlock(head(2, 0, 0x21, 1, 16)); err != nil || dict != 1<<20 {
		t.Errorf("dictionary %d, error %v", dict, err)
	}
	if _, err := (unxz{dict: 8192}).expand(make([]byte, 10), head(2, 0, 0x21, 1, 40)); err == nil {
		t.Error("a dictionary of 4 GiB was accepted")
	}
}
