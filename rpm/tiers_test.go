package rpm

import (
	"testing"

	"ore"
	"ore/install/sandbox"
	"ore/rpm/rpmtest"
)

// A tree is the same whoever makes it.
func TestTiers(t *testing.T) {
	w := wants(ore.Repository{URI: "file://" + rpmtest.Repository(t, nil, rpmtest.Basis, rpmtest.Hello)})
	var env ore.Environment
	trees := map[ore.Digest]bool{}
	for _, tier := range []sandbox.Tier{sandbox.Root, sandbox.Single} {
		m := maker(t, t.TempDir())
		m.Tier = tier
		var err error
		if env, err = m.Resolve(t.Context(), w); err != nil {
			t.Fatalf("%s: %v", tier, err)
		}
		img, err := m.Build(t.Context(), env, w.Repositories)
		if err != nil {
			t.Fatalf("%s: %v", tier, err)
		}
		trees[img.Tree] = true
		if len(trees) != 1 {
			t.Errorf("%s: another tree: %v", tier, trees)
		}
		if tier == sandbox.Single {
			checkTree(t, m.Store, img)
		}
	}
}
