package site

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/image"
)

// The setting prepare has the work that is put off begun after a job whose image needs
// none, as often as a turn is due, and has a turn taken by that work.
func TestPreparingIsBegunWhereItIsSet(t *testing.T) {
	s := newSite(t)
	begun := 0
	s.Later = func() error { begun++; return errors.New("it does not start") }
	few, full := image.Manifest{}, image.Manifest{Layers: make([]image.Layer, image.MaxLayers)}
	said := ""
	watch := ore.Watcher(func(e ore.Event) { said += e.Text })
	expect := func(when string, img image.Manifest, want bool) {
		t.Helper()
		before := begun
		if s.later(img, watch); begun-before == 1 != want {
			t.Errorf("%s: begun %d times", when, begun-before)
		}
	}
	turn := func() {
		t.Helper()
		if err := s.turn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	expect("without the setting", few, false)
	expect("without the setting, a full image", full, true)
	if !strings.Contains(said, "does not start") {
		t.Errorf("said %q", said)
	}
	said = ""
	turn() // takes none
	s.Budget = time.Minute
	expect("a turn is due", few, true)
	if said != "" {
		t.Errorf("nobody asked for that, but it said %q", said)
	}
	s.Later = func() error { begun++; return nil }
	expect("it is due still, since none was taken", few, true)
	turn()
	expect("after a turn", few, false)
	expect("after a turn, a full image", full, true)
	if err := os.Remove(filepath.Join(s.Dirs.State, "prepared.turn")); err != nil {
		t.Fatal(err)
	}
	expect("due again", few, true)
	s.Later = nil
	s.later(few, watch) // nobody to begin it
}
