package boot

import (
	"bytes"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

func sample() []Entry {
	return []Entry{
		{Path: "dev", Mode: modeFolder},
		{Path: "dev/console", Mode: modeChar, Major: 5, Minor: 1},
		{Path: "abc", Mode: modeFile, Data: []byte("12345")},
		{Path: "abcd", Mode: modeExec, Data: []byte("1234")},
		{Path: "empty", Mode: modeFile},
	}
}

func TestCPIO(t *testing.T) {
	var b bytes.Buffer
	if err := WriteCPIO(&b, sample()...); err != nil {
		t.Fatal(err)
	}
	got, err := ReadCPIO(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	for i := range want {
		if want[i].Data == nil {
			want[i].Data = []byte{}
		}
		if got[i].Data == nil {
			got[i].Data = []byte{}
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// GNU cpio is the judge.
	c := exec.Command("cpio", "-it", "--quiet")
	c.Stdin = bytes.NewReader(b.Bytes())
	out, err := c.CombinedOutput()
	if err != nil || string(out) != "dev\ndev/console\nabc\nabcd\nempty\n" {
		t.Errorf("cpio: %v: %s", err, out)
	}
}

func TestCPIORefused(t *testing.T) {
	var b bytes.Buffer
	if err := WriteCPIO(&b, sample()...); err != nil {
		t.Fatal(err)
	}
	for n := range b.Len() - 1 {
		if n >= b.Len()-pad(cpioHeader+len(cpioTrailer)+1) {
			break // the padding after the last name
		}
		if _, err := ReadCPIO(bytes.NewReader(b.Bytes()[:n])); err == nil {
			t.Fatalf("cut to %d of %d bytes: no error", n, b.Len())
		}
	}
	bad := bytes.Replace(b.Bytes(), []byte(cpioMagic), []byte("070702"), 1)
	if _, err := ReadCPIO(bytes.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "newc") {
		t.Errorf("another format: %v", err)
	}
	if err := WriteCPIO(&b, Entry{}); err == nil {
		t.Error("an entry without a name was written")
	}
}

func FuzzReadCPIO(f *testing.F) {
	var b bytes.Buffer
	if err := WriteCPIO(&b, sample()...); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		first, err := ReadCPIO(bytes.NewReader(in))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := WriteCPIO(&again, first...); err != nil {
			return // a name that is empty
		}
		second, err := ReadCPIO(&again)
		if err != nil {
			t.Fatal(err)
		}
		if len(first) != len(second) {
			t.Errorf("%d entries, then %d", len(first), len(second))
		}
	})
}
