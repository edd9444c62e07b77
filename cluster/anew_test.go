package cluster

import (
	"context"
	"strings"
	"testing"

	"ore"
	"ore/cluster/results"
	"ore/guest"
)

// An image that has rotted costs the run that finds it time, and nothing else:
// what exists is asked again, and that is told.
func TestRottenImageIsMadeAnew(t *testing.T) {
	for rotten, kind := range map[int]ore.Kind{1: ore.Finished, maxAnew: ore.Finished, maxAnew + 1: ore.Failed} {
		s := newSite(func(context.Context, *fakeMachine, guest.Command) (guest.Exit, error) { return guest.Exit{}, nil })
		if res := s.run(t.Context(), t, job(1, nil)); res.Kind != ore.Finished || s.images.made != 1 {
			t.Fatalf("%+v, %d images made", res, s.images.made)
		}
		s.images.rotten, s.node.released = rotten, 0
		folder, err := results.Create(t.TempDir(), "job")
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		watch := func(e ore.Event) {
			if e.Text != "" {
				told = append(told, e.Text)
			}
		}
		res := Run(t.Context(), Config{ID: "job", Images: s.images, Engine: s.engine, Results: folder, Watch: watch}, job(1, nil))
		if res.Kind != kind || kind == ore.Finished && s.images.made != 2 {
			t.Errorf("rotten %d times: %+v, %d images made", rotten, res, s.images.made)
		}
		if text := strings.Join(told, "\n"); strings.Count(text, "image x: damaged or removed: it is made anew") != min(rotten, maxAnew) {
			t.Errorf("rotten %d times: told %q", rotten, told)
		}
		if n := s.images.images.Load(); n != 0 {
			t.Errorf("rotten %d times: %d images are held once all is over", rotten, n)
		}
	}
}

// Machines whose ports cannot be published do not stay.
func TestUpThatCannotPublishLeavesNone(t *testing.T) {
	s := newSite(nil)
	port := func(j *ore.Job) { j.Run.Publish = []ore.Port{{Listen: "127.0.0.1:0", Port: 80}} } // which a fakeNode cannot
	if _, err := Up(t.Context(), Config{ID: "bed", Images: s.images, Engine: s.engine}, job(2, port)); err == nil || s.node.released != 1 {
		t.Errorf("%v, released %d times", err, s.node.released)
	}
}
