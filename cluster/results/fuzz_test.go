package results

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// FuzzLoad looks for a result.json that makes Load panic, or that it reads as
// something it cannot write.
func FuzzLoad(f *testing.F) {
	b, err := json.Marshal(result())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"Kind":"finished","ExitCode":1e99}`))
	f.Add([]byte(`{"Timeline":[{"Start":"2026-01-01T00:00:00Z","End":"0001-01-01T00:00:00Z"}]}`))
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "result.json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Load(dir)
		if err != nil {
			return
		}
		if _, err := Trace(r.Timeline); err != nil {
			t.Errorf("%q: trace: %v", b, err)
		}
		if len(SVG(r)) == 0 {
			t.Errorf("%q: no drawing", b)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Errorf("%q: written back: %v", b, err)
		}
	})
}
