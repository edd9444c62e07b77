package imaging

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore/site"
	"ore/site/ahead"
)

// What preparing has gained is said beside the list, which is given also where the gain
// cannot be told.
func TestListSaysTheGainBeside(t *testing.T) {
	home := t.TempDir()
	dirs, err := site.FindDirs(func(name string) string { return map[string]string{site.HomeVariable: home}[name] })
	if err != nil {
		t.Fatal(err)
	}
	open := func(ctx context.Context) (*site.Site, error) { return site.Open(ctx, site.Config{Dirs: dirs}) }
	list := func() (out, beside string) {
		t.Helper()
		var o, e bytes.Buffer
		json := false
		c := Command(&Shell{Out: &o, Err: &e, JSON: &json, Open: open})
		c.SetArgs([]string{"ls"})
		c.SilenceErrors, c.SilenceUsage = true, true
		if err := c.ExecuteContext(t.Context()); err != nil {
			t.Error(err)
		}
		return o.String(), e.String()
	}
	book := ahead.Book{Path: filepath.Join(dirs.State, "prepared.jsonl")}
	if out, beside := list(); !strings.Contains(strings.ToLower(out), "asked for") || beside != "" {
		t.Errorf("nothing was prepared: %q, beside it %q", out, beside)
	}
	if err := book.Keep([]ahead.Prepared{{Key: "a"}}); err != nil {
		t.Fatal(err)
	}
	if out, beside := list(); strings.Contains(out, "so far") || !strings.HasPrefix(beside, "so far 1 images were prepared") {
		t.Errorf("one was: %q, beside it %q", out, beside)
	}
	if err := os.Remove(book.Path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(book.Path, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, beside := list(); out == "" || beside != "" {
		t.Errorf("what was prepared cannot be read: %q, beside it %q", out, beside)
	}
}
