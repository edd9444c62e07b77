package conduct_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ore/chain/conduct"
)

// TestAFullDiskFailsItsOwnHost has one receiver, at each place, whose disk has no
// room even for the list of the blob's chunks: it is left with its cause, at once,
// and all others have the blob.
func TestAFullDiskFailsItsOwnHost(t *testing.T) {
	b, want, name := blob(t, 2<<20)
	for full := range 3 {
		source, p := neighbour(t, "source", told{})
		if err := offer(p, b, name); err != nil {
			t.Fatal(err)
		}
		tr := conduct.Transfer{Blob: b, Source: source}
		var dirs []string
		for i := range 3 {
			dirs = append(dirs, t.TempDir())
			h, _ := neighbour(t, fmt.Sprint("h", i), told{Dir: dirs[i]})
			tr.Receivers = append(tr.Receivers, h)
		}
		if err := os.Symlink("/dev/full", filepath.Join(dirs[full], b.Digest.String()+".chunks.tmp")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		r, err := conduct.New(conduct.Config{}).Send(ctx, tr)
		cancel()
		if err != nil {
			t.Fatalf("full host %d: %v", full, err)
		}
		allDone(t, r, fmt.Sprint("h", full))
		if err := r.Hosts[full].Err; err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("full host %d: %v, want that it has no space left", full, err)
		}
		for i, dir := range dirs {
			if i != full {
				sameFile(t, filepath.Join(dir, b.Digest.String()), want)
			}
		}
	}
}
