package lazy

import (
	"testing"
	"time"
)

// What reads cost is the same whether or not some of them waited for a core.
func TestCostLeavesWaitsOut(t *testing.T) {
	const usual, waited, reads, ofThose = 100 * time.Microsecond, 80 * time.Millisecond, 400, 20
	n := &file{}
	for i := range reads {
		took := usual
		if i%(reads/ofThose) == 0 {
			took = waited
		}
		n.note(Range{int64(i) << 20, 4096}, took)
	}
	f := &Folder{files: []*file{n}}
	got, ok := f.Touched("")
	if !ok || len(got.Ranges) != reads || got.Bytes != reads*4096 {
		t.Fatalf("%d ranges of %d bytes, %v", len(got.Ranges), got.Bytes, ok)
	}
	if got.Took < reads*usual || got.Took > reads*usual*3/2 {
		t.Errorf("%d reads of %v, of which %d waited, cost %v", reads, usual, ofThose, got.Took)
	}
}
