package keep

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// number is a value of which a part would be seen: all its words are one.
type number struct{ Words []int }

func value(n int) number {
	v := number{make([]int, 2000)}
	for i := range v.Words {
		v.Words[i] = n
	}
	return v
}

// TestWritersMayBeKilled kills a writer again and again; a reader must always
// find a whole value.
func TestWritersMayBeKilled(t *testing.T) {
	if path := os.Getenv("KEEP_WRITE"); path != "" {
		for n := 0; ; n++ {
			if err := Store(path, value(n)); err != nil {
				t.Fatal(err)
			}
			os.Stdout.WriteString("x")
		}
	}
	path := filepath.Join(t.TempDir(), "v")
	for round := range 12 {
		c := exec.Command("/proc/self/exe", "-test.run=^TestWritersMayBeKilled$")
		c.Env = append(os.Environ(), "KEEP_WRITE="+path)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1+round)); err != nil {
			t.Fatal(err)
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		c.Wait()
		var v number
		if err := Load(path, &v); err != nil {
			t.Fatal(err)
		}
		for _, w := range v.Words {
			if len(v.Words) != 2000 || w != v.Words[0] {
				t.Fatalf("round %d: a part of a value", round)
			}
		}
		if err := Sweep(path); err != nil {
			t.Fatal(err)
		}
	}
	if all, _ := filepath.Glob(path + "*"); len(all) != 1 {
		t.Errorf("left: %q", all)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v")
	v := number{[]int{7}}
	if err := Load(path, &v); err != nil || v.Words[0] != 7 {
		t.Errorf("no file: %v %v", v, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Load(path, &v); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("a broken file: %v", err)
	}
	if err := Store(filepath.Join(t.TempDir(), "none", "v"), v); err == nil {
		t.Error("stored in a folder that there is not")
	}
}

func TestLockIsHeldByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path, true); !errors.Is(err, ErrHeld) {
		t.Errorf("a second lock: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = Lock(path, false)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
