package apt

import (
	"testing"

	"ore"
)

func TestAutomatic(t *testing.T) {
	base := []byte(paragraph("libapt", "amd64") + paragraph("libmount", "amd64"))
	env := ore.Environment{
		Arch: "amd64", Manual: []string{"asked", "libapt"},
		Packages: []ore.Package{{Name: "along"}, {Name: "asked"}, {Name: "libapt", Base: true}, {Name: "libmount", Base: true}, {Name: "too", Arch: "all"}},
	}
	want := paragraph("libmount", "amd64") + paragraph("along", "amd64") + paragraph("too", "amd64")
	if got := string(Automatic(base, env)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := Automatic(nil, ore.Environment{}); len(got) != 0 {
		t.Errorf("nothing came along: %q", got)
	}
}
