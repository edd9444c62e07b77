package wire_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"ore"
	"ore/cache"
	"ore/cache/serve/wire"
)

func TestPack(t *testing.T) {
	text := strings.Repeat("a", 10_000)
	b, err := wire.Pack(text)
	if err != nil || len(b) > 200 {
		t.Fatalf("%d bytes: %v", len(b), err)
	}
	var back string
	if err := wire.Unpack(b, 20_000, &back); err != nil || back != text {
		t.Errorf("%d bytes came back: %v", len(back), err)
	}
	if err := wire.Unpack(b, 5000, &back); !errors.Is(err, wire.ErrLarge) {
		t.Errorf("what unpacks to more than is allowed: %v", err)
	}
	if err := wire.Unpack(b[:len(b)-4], 20_000, &back); err == nil {
		t.Error("what is cut short is unpacked")
	}
}

func TestShorten(t *testing.T) {
	env := ore.Environment{Packages: []ore.Package{{Name: "a", Digest: "1"}, {Name: "b", Digest: "2"}, {Name: "c", Digest: "3"}}}
	c := wire.Candidate{Candidate: cache.Candidate{Missing: []ore.Package{env.Packages[2], env.Packages[0]}, Extra: []ore.Package{{Name: "x", Digest: "9"}}}}
	c.Shorten(env)
	if c.Missing != nil || !reflect.DeepEqual(c.Lacks, []int{2, 0}) || c.Extra[0].Digest != "" {
		t.Errorf("%+v", c)
	}
	if !c.Complete(env) || c.Missing[0].Name != "c" || c.Missing[1].Name != "a" {
		t.Errorf("%+v", c)
	}
	for _, bad := range [][]int{{3}, {-1}} {
		c.Lacks = bad
		if c.Complete(env) {
			t.Errorf("%v is complete", bad)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	b, err := wire.Pack([]wire.Candidate{{Lacks: []int{1, 2}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var all []wire.Candidate
		if wire.Unpack(b, 1<<16, &all) != nil {
			return
		}
		for i := range all {
			all[i].Complete(ore.Environment{Packages: make([]ore.Package, 2)})
		}
	})
}
