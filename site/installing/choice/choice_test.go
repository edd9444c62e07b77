package choice

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/deb/debtest"
	"ore/image"
	"ore/install/recipe"
	"ore/job"
	"ore/plan"
	"ore/plan/hindsight"
	"ore/site"
)

var begun = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// told is a recipe of one package, or of an image of it.
func told(s recipe.Strategy) recipe.Recipe {
	env := ore.Environment{Version: ore.EnvironmentVersion, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Arch: "amd64",
		Packages: []ore.Package{{Name: "sample", Version: "1", Arch: "all", Size: 1000, Digest: ore.DigestOf(nil), Path: "sample.deb"}}}
	r := recipe.Recipe{Version: recipe.Version, Name: "m", Seed: "m", Environment: env, Strategy: s, Blobs: map[ore.Digest]recipe.Source{}, Archive: []string{"proxy:http://10.9.0.1/packages"}}
	if s == recipe.Whole {
		r.Image = &image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf(nil), Layers: []image.Layer{{Digest: ore.DigestOf([]byte("layer")), Size: 4000, Compression: "zstd", Key: env.Key()}}}
		r.Blobs[r.Image.Layers[0].Digest] = recipe.Source{Size: 4000, From: []string{"http://10.9.0.1/blob"}}
	}
	return r
}

// stages are of a machine that restarted so, within so many seconds.
func stages(middle, how string, seconds int) (t ore.Timeline) {
	at := begun
	for _, s := range []struct {
		name, note string
		took       int
	}{{recipe.Begin, "", 1}, {middle, "", 4}, {recipe.Configure, "", 2}, {recipe.Restart, how, seconds}, {recipe.Ready, "", 0}} {
		end := at.Add(time.Duration(s.took) * time.Second)
		t = append(t, ore.Stage{Name: s.name, Machine: "m", Note: s.note, Start: at, End: end})
		at = end
	}
	return t
}

// TestLearnsAndChooses learns of machines what their stages took, and chooses how the
// next one starts again by that: kexec, as long as not both are known.
func TestLearnsAndChooses(t *testing.T) {
	var r plan.Rates
	learn := func(told recipe.Recipe, t ore.Timeline) (laws []string) {
		p, ok := foreseen(told, t, r)
		if !ok {
			return nil
		}
		o := new(hindsight.Recorder).Outcome(p, t)
		for _, m := range o.Measured {
			laws = append(laws, m.Law+" "+m.Took.String())
		}
		r = r.Learn(o.Measured...)
		return laws
	}
	expect := func(by, why string) {
		t.Helper()
		if got, said := Restart(r); got != by || said != why {
			t.Errorf("%s, since %q; want %s, %q", got, said, by, why)
		}
	}
	expect("kexec", "")
	if got := learn(told(recipe.Whole), stages(recipe.Root, "firmware: this kernel has no kexec", 20)); !slices.Equal(got, []string{"setup netboot@here 3s", "pour netboot@here 4s", "restart firmware@here 20s"}) {
		t.Errorf("learned %q", got)
	}
	expect("kexec", "")
	if got := learn(told(recipe.Packages), stages(recipe.Install, "kexec", 5)); !slices.Equal(got, []string{"setup netboot@here 3s", "packages netboot@here 4s", "restart kexec@here 5s"}) {
		t.Errorf("learned %q", got)
	}
	expect("kexec", "they restart by kexec, predicted 5.0 s; through their firmware: predicted 15.0 s later")
	for range 20 {
		learn(told(recipe.Whole), stages(recipe.Root, "kexec", 30))
	}
	by, why := Restart(r)
	if by != "firmware" || !strings.HasPrefix(why, "they restart through their firmware, predicted 20.0 s; by kexec: predicted ") {
		t.Errorf("%s, since %q", by, why)
	}
}

// TestLearnsOfNoOtherWay learns nothing of machines that did not go the recipe's way,
// were never told how they restart, or fetched over another's link.
func TestLearnsOfNoOtherWay(t *testing.T) {
	mirror := told(recipe.Packages)
	mirror.Archive = []string{"mirror:http://mirror.example.org/debian"}
	for summary, c := range map[string]struct {
		told   recipe.Recipe
		stages ore.Timeline
	}{
		"packages instead":     {told(recipe.Whole), stages(recipe.Install, "kexec", 1)},
		"from the mirror":      {mirror, stages(recipe.Install, "kexec", 1)},
		"nothing was written":  {told(recipe.Whole), stages(recipe.Root, "it already is what it should be: nothing was written", 1)},
		"an older installer's": {told(recipe.Whole), stages(recipe.Root, "", 1)},
	} {
		if p, ok := foreseen(c.told, c.stages, plan.Rates{}); ok {
			t.Errorf("%s: %+v", summary, p)
		}
	}
}

// TestLearnKeeps has a site keep what a machine took, and refuses what is no recipe.
func TestLearnKeeps(t *testing.T) {
	s := &site.Site{}
	s.Dirs.State = t.TempDir()
	if err := Learn(s, []byte("{"), nil); err == nil || !strings.Contains(err.Error(), "learn what a machine took: recipe: ") {
		t.Errorf("no recipe: %v", err)
	}
	if err := Learn(s, told(recipe.Whole).Encode(), stages(recipe.Root, "kexec", 5)); err != nil {
		t.Fatal(err)
	}
	if seconds, known := s.Rates().Restarts(plan.ByKexec); !known || math.Abs(seconds-5) > 0.01 {
		t.Errorf("kexec takes %.1f s, %v", seconds, known)
	}
}

// TestFor chooses for a machine of which nothing is known, then by what others took, and
// leaves what is not to be chosen as it is.
func TestFor(t *testing.T) {
	mirror := debtest.New(t, debtest.Package{Name: "base-files", Fields: map[string]string{"Priority": "required"}})
	dir := t.TempDir()
	s, err := site.Open(t.Context(), site.Config{Mirror: mirror.URL, Keyring: mirror.KeyFile,
		Dirs: site.Dirs{Images: dir + "/images", Cache: dir + "/cache", State: dir + "/state", Run: dir + "/run"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	j := job.Default("")
	if j.Wants.Base, err = job.ParseBase("debian/" + debtest.Suite); err != nil {
		t.Fatal(err)
	}
	expect := func(w Wish, want Choice) {
		t.Helper()
		w.Job = j
		got, err := For(t.Context(), s, w, nil)
		if err != nil || got.From != want.From || got.Restart != want.Restart || !strings.HasPrefix(got.Why, want.Why) || (got.Why == "") != (want.Why == "") {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	expect(Wish{}, Choice{"image", "kexec", "machines install themselves from image; from packages: "})
	expect(Wish{From: "mirror"}, Choice{"mirror", "kexec", ""})
	for _, how := range []string{"kexec", "firmware"} {
		if err := Learn(s, told(recipe.Whole).Encode(), stages(recipe.Root, how, len(how))); err != nil {
			t.Fatal(err)
		}
	}
	expect(Wish{From: "base"}, Choice{"base", "kexec", "they restart by kexec, predicted 5.0 s; through their firmware: predicted 3.0 s later"})
	expect(Wish{From: "base", Restart: "firmware"}, Choice{"base", "firmware", ""})
}
