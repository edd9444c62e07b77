package slurm

import (
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ore"
)

func TestDoorOpensForWhoKnowsTheToken(t *testing.T) {
	d, err := openDoor()
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	_, port, err := net.SplitHostPort(d.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	knock := func(said string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, said); err != nil {
			t.Fatal(err)
		}
		return c
	}
	refused := func(c net.Conn) {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(knockTime))
		var e net.Error
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.As(err, &e) && e.Timeout() {
			t.Errorf("a stranger was not sent away: %d, %v", n, err)
		}
	}
	refused(knock("nothing\n"))
	refused(knock(d.token[1:] + "\n"))
	refused(knock(strings.Repeat("x", 1<<16)))
	knock(d.token + "\nfirst\nrest")
	v, err := d.await(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if line, err := v.line(); err != nil || line != "first" {
		t.Errorf("%q, %v", line, err)
	}
	buf := make([]byte, 4)
	if _, err := io.ReadFull(v, buf); err != nil || string(buf) != "rest" {
		t.Errorf("%q, %v", buf, err)
	}
	over, cancel := context.WithCancelCause(t.Context())
	cancel(errNoJob)
	if _, err := (&door{in: make(chan *visitor)}).await(over); !errors.Is(err, errNoJob) {
		t.Errorf("a wait that was over: %v", err)
	}
}

// What goes into the script is a word there, whatever it is, and the script is one
// that bash takes.
func TestScriptIsWhatBashTakes(t *testing.T) {
	for _, text := range []string{"", "plain", "it's", `a "b" $c \d`, "two\nlines", "`x`"} {
		if out, err := exec.Command("bash", "-c", "printf %s "+quote(text)).Output(); err != nil || string(out) != text {
			t.Errorf("%q became %q, %v", text, out, err)
		}
	}
	d, err := openDoor()
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	script, err := errand{program: Program{Path: "/it's/ore", Args: []string{"node", "--lease"}}, keys: []byte(`{"Key":"x"}` + "\n"), sum: "0", size: 1}.script(d)
	if err != nil {
		t.Fatal(err) // a host without an address but its own
	}
	check := exec.Command("bash", "-n")
	check.Stdin = strings.NewReader(script)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v: %s: %s", err, out, script)
	}
}

func TestServiceSettings(t *testing.T) {
	for _, s := range []Settings{{REST: "ftp://x"}, {REST: "unix:/x", Extra: []string{"--exclusive"}}} {
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), "slurm.") {
			t.Errorf("%+v: %v", s, err)
		}
	}
	s := Settings{Partition: "p", REST: "unix:/x"}.Over(Settings{REST: "http://y:1", TokenFile: "t"})
	if s.REST != "unix:/x" || s.TokenFile != "t" || s.Check() != nil {
		t.Errorf("%+v: %v", s, s.Check())
	}
	r := request{job: "j", machines: ore.Machines{Count: 3, Resources: ore.Resources{CPUs: 2, Memory: 512 << 20}}, timeout: time.Minute}
	if j := s.properties(r); j.Tasks != 3 || j.CPUs != 2 || j.Memory != 288 || j.Minutes != 16 || j.Name != "ore-j" || j.Comment != "ore job=j" || j.Partition != "p" {
		t.Errorf("%+v", j)
	}
	if (state{State: "PENDING"}).lasts() == (state{State: "TIMEOUT"}).lasts() {
		t.Error("a job that waits is not one that is over")
	}
	if err := (state{State: "FAILED", Exit: 81}).over("7"); !strings.Contains(err.Error(), "cannot connect to this one") {
		t.Error(err)
	}
}
