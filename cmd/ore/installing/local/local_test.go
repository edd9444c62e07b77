package local

import (
	"testing"

	"go.uber.org/goleak"

	"ore"
	cli "ore/cmd/ore/installing"
	"ore/deb/debtest"
	"ore/job"
	"ore/site"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is made for a machine that is assigned is shown while it is made, until it is
// there or cannot be: here the archive lacks what an installer needs.
func TestAssignShowsProgress(t *testing.T) {
	mirror := debtest.New(t, debtest.Package{Name: "base-files"})
	dir := t.TempDir()
	s, err := site.Open(t.Context(), site.Config{Mirror: mirror.URL, Keyring: mirror.KeyFile,
		Dirs: site.Dirs{Images: dir + "/images", Cache: dir + "/cache", State: dir + "/state", Run: dir + "/run"}})
	if err != nil {
		t.Fatal(err)
	}
	var told []ore.Event
	shown, ended := 0, 0
	on := Site(s, dir+"/list", func() (ore.Watcher, func()) {
		shown++
		return func(e ore.Event) {
			if ended == shown {
				t.Errorf("after its end: %+v", e)
			}
			told = append(told, e)
		}, func() { ended++ }
	})
	defer func() {
		if err := on.Close(); err != nil {
			t.Error(err)
		}
	}()
	j := job.Default("")
	if j.Wants.Base, err = job.ParseBase("debian/" + debtest.Suite); err != nil {
		t.Fatal(err)
	}
	_, err = on.System(t.Context(), cli.Want{Job: j, Name: "node1", Firmware: ore.BIOS})
	if err == nil || shown != 1 || ended != 1 || len(told) == 0 {
		t.Errorf("%v; shown %d times, ended %d; told %v", err, shown, ended, told)
	}
}
