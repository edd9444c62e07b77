package cluster

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ore"
	"ore/cluster/results"
	"ore/guest"
)

// smallDisk mounts a file system of some bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("ore-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small disk has to be mounted, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A job that prints more than the disk of its results holds runs to its own end;
// result.json is there and says what lacks, why, and what to do.
func TestFullDiskOfResults(t *testing.T) {
	done := false
	s := newSite(func(_ context.Context, m *fakeMachine, c guest.Command) (guest.Exit, error) {
		for range 64 {
			if _, err := c.Stdout.Write(bytes.Repeat([]byte("x"), 64<<10)); err != nil {
				return guest.Exit{}, err // as home breaks when output is not taken
			}
		}
		m.write("/job/out", strings.Repeat("y", 4<<20))
		done = true
		return guest.Exit{Code: 3}, nil
	})
	folder, err := results.Create(smallDisk(t, "1m"), "job")
	if err != nil {
		t.Fatal(err)
	}
	var notes []string
	watch := func(e ore.Event) {
		if e.Stage == "note" {
			notes = append(notes, e.Text)
		}
	}
	j := job(1, func(j *ore.Job) { j.Run.Outputs = []string{"o*"} })
	res := Run(t.Context(), Config{ID: "job", Images: s.images, Engine: s.engine, Results: folder, Watch: watch}, j)
	if !done || res.Kind != ore.Failed || len(res.Ranks) != 1 || res.Ranks[0].ExitCode != 3 {
		t.Errorf("done %v, %+v", done, res)
	}
	for _, want := range []string{
		"results of 0: its command ended with exit code 3, but not all that it printed is kept: write ", "/0/stdout: no space left on device: free some space, or name another folder with --results",
		"outputs of m0: extract: ",
	} {
		if !strings.Contains(res.Error, want) {
			t.Errorf("no %q in %q", want, res.Error)
		}
	}
	if n := strings.Count(res.Error, "--results"); n != 2 {
		t.Errorf("%d times what to do: %q", n, res.Error)
	}
	if strings.Contains(res.Error, "ore images prune") {
		t.Errorf("blames the disk of the images: %q", res.Error)
	}
	if len(notes) != 1 || !strings.HasPrefix(notes[0], "stdout is no longer kept: ") {
		t.Errorf("said meanwhile: %q", notes)
	}
	// The rest is full now, to the last byte.
	if err := os.WriteFile(filepath.Join(folder.Dir(), "0", "more"), make([]byte, 2<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	_ = folder.Finish(res) // of the others it says that there is no room
	if got, err := results.Load(folder.Dir()); err != nil || got.Ranks[0].ExitCode != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

// Where there is not even room for result.json, no job begins.
func TestNoRoomForResults(t *testing.T) {
	dir := smallDisk(t, "64k")
	_, err := results.Create(dir, "job")
	if err == nil || !strings.Contains(err.Error(), "no space left on device: free some space") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "job")); err == nil {
		t.Error("the folder is left")
	}
}
