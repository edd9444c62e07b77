package words

import "testing"

// Each kind of word is read, and what is none leaves what was there.
func TestWords(t *testing.T) {
	var f *float64
	if err := Rate(&f, "1.5Mbit"); err != nil || *f != 1.5e6 {
		t.Errorf("%v, %v", f, err)
	}
	for _, v := range []string{"", "500", "0bit", "-1kbit", "1e9kbit", "9999999999Gbit", "5 kbit"} {
		if err := Rate(&f, v); err == nil || *f != 1.5e6 {
			t.Errorf("rate %q: %v, %v", v, *f, err)
		}
	}
	var n *int
	if err := Count(&n, "7", 7); err != nil || *n != 7 {
		t.Errorf("%v, %v", n, err)
	}
	if Count(&n, "8", 7) == nil || Count(&n, "0", 7) == nil || *n != 7 {
		t.Error("counts beyond their bounds")
	}
	if Number(&f, "NaN", 1) == nil || Number(&f, "2", 1) == nil || Number(&f, "0.5", 1) != nil || *f != 0.5 {
		t.Error("numbers")
	}
	var s string
	var b *bool
	if OneOf(&s, "x", "y") == nil || s != "" || OneOf(&s, "y", "x", "y") != nil || s != "y" || YesNo(&b, "maybe") == nil || YesNo(&b, "yes") != nil || !*b {
		t.Error("words")
	}
}
