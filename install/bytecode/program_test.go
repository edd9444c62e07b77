package bytecode

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What the compiler makes of modules is what the call of the scripts makes, byte for
// byte, in whatever process and order. Among them are those in which it once was not:
// whether "*" is interned depends on what was compiled before.
func TestProgram(t *testing.T) {
	const python = Python("python3.11")
	if _, err := os.Stat("/usr/bin/" + string(python)); err != nil {
		t.Skipf("Debian's package %s-minimal is not there: %v", python, err)
	}
	dir := t.TempDir()
	var files []string
	add := func(source string) {
		name := filepath.Join(dir, fmt.Sprintf("m%d.py", len(files)))
		if err := os.WriteFile(name, []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	add("x = '*'\ny = {'*': ('*', 1.5, 300, None), 'a': frozenset({1, 2, 'z'})}\n")
	add("from os import *\n")
	library, err := filepath.Glob("/usr/lib/" + string(python) + "/[a-z]*.py")
	if err != nil || len(library) == 0 {
		t.Fatal("no library: ", err)
	}
	for _, name := range library {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		add(string(source))
	}
	compile := func(args []string) map[string][]byte {
		// Nothing of the library is compiled yet, as in a build: that decides what is interned.
		cache := t.TempDir()
		c := exec.Command(args[0], append([]string{"-X", "pycache_prefix=" + cache}, args[1:]...)...)
		c.Env = []string{"PYTHONHASHSEED=0", "SOURCE_DATE_EPOCH=1"}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		made := map[string][]byte{}
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(cache, dir, filepath.Base(python.compiled(f))))
			if err != nil {
				t.Fatal(err)
			}
			made[f] = b
		}
		return made
	}
	theirs, ours := compile(python.Command(files)), compile(python.command(files))
	for f, want := range theirs {
		if !bytes.Equal(ours[f], want) {
			t.Errorf("%s: %d bytes differ from the %d of the call itself", filepath.Base(f), len(ours[f]), len(want))
		}
	}
}
