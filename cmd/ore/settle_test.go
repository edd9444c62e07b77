package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"ore/site"
	"ore/site/settings"
)

// What the settings say reaches the site.
func TestSettingsAreTakenIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "site.yaml")
	if err := os.WriteFile(path, []byte("prepare: 2m\nquota: 3G\nsuperset: true\nhedge: false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(settings.Variable, path)
	var c site.Config
	if err := new(app).settle(&c); err != nil {
		t.Fatal(err)
	}
	if c.Budget != 2*time.Minute || c.Quota != 3<<30 || !c.Superset || !c.Hedge.Off {
		t.Errorf("%+v", c)
	}
}
