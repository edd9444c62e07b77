package results

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ore"
)

func result() ore.Result {
	t0 := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return ore.Result{
		Job: "blast <1>", Kind: ore.Finished,
		Timeline: ore.Timeline{
			{Name: "resolve", Start: t0, End: t0.Add(time.Second)},
			{Name: "boot", Machine: "m0", Start: t0.Add(time.Second), End: t0.Add(3 * time.Second), Note: "a & b"},
		},
	}
}

func TestFinishAndLoad(t *testing.T) {
	parent := t.TempDir()
	f, err := Create(parent, "blast-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(parent, "blast-1"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second folder of the same job gives %v", err)
	}
	if err := f.Finish(result()); err != nil {
		t.Fatal(err)
	}
	got, err := Load(f.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(result(), got); d != "" {
		t.Error(d)
	}
	left, err := filepath.Glob(filepath.Join(f.Dir(), ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
}

func TestSVGIsWellFormed(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(string(SVG(result()))))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTraceHasEveryStage(t *testing.T) {
	b, err := Trace(result().Timeline)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		TraceEvents []struct {
			Name, Ph string
			Ts, Dur  int64
		}
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	found := map[string]int64{}
	for _, e := range got.TraceEvents {
		if e.Ph == "X" {
			found[e.Name] = e.Dur
		}
	}
	if d := cmp.Diff(map[string]int64{"resolve": 1e6, "boot": 2e6}, found); d != "" {
		t.Error(d)
	}
}

func TestPartIsMadeOnce(t *testing.T) {
	f, err := Create(t.TempDir(), "j")
	if err != nil {
		t.Fatal(err)
	}
	a, err1 := f.Part("0")
	b, err2 := f.Part("0")
	if err1 != nil || err2 != nil || a != b {
		t.Fatalf("%s %v, %s %v", a, err1, b, err2)
	}
	if _, err := os.Stat(a); err != nil {
		t.Error(err)
	}
}
