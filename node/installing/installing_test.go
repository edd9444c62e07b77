package installing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/guest"
)

// says is a machine on which the installer says out and errs and ends with exit.
func says(out, errs string, exit guest.Exit) Runner {
	return func(_ context.Context, c guest.Command) (guest.Exit, error) {
		if _, err := io.Copy(io.Discard, c.Stdin); err != nil {
			return guest.Exit{}, err
		}
		for _, b := range []byte(out) { // bytes come as they like
			c.Stdout.Write([]byte{b})
		}
		io.WriteString(c.Stderr, errs)
		return exit, nil
	}
}

func order() Order {
	return Order{Command: []string{"/ore", "installer"}, Machines: map[string]Machine{"m0": {Recipe: []byte(`{}`)}}}
}

// What an installer reports becomes events of its machine, and stages.
func TestReports(t *testing.T) {
	const out = `{"n":1,"stage":"installer start","event":"start"}
{"n":2,"stage":"base","event":"start","text":"image ab"}

{"n":3,"stage":"base","event":"advance","done":5,"total":10}
{"n":4,"stage":"base","event":"end"}
{"n":5,"stage":"restart","event":"start"}`
	var events []ore.Event
	stages, err := order().Install(t.Context(), Visit{
		Name: "m0", Run: says(out+"\n", "", guest.Exit{}), Console: io.Discard,
		Watch: func(e ore.Event) { events = append(events, e) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range stages {
		names = append(names, s.Name+" "+s.Note)
		if s.Machine != "m0" || s.Start.IsZero() || s.End.Before(s.Start) {
			t.Errorf("stage %+v", s)
		}
	}
	if want := []string{"installer start ", "base image ab", "restart "}; !slices.Equal(names, want) {
		t.Errorf("stages %q, want %q", names, want)
	}
	if len(events) != 5 || events[2] != (ore.Event{Stage: "base", Machine: "m0", Done: 5, Total: 10}) || !events[3].Final {
		t.Errorf("events %+v", events)
	}
}

// Whatever ends an installer, the error says in which stage, and why.
func TestFailures(t *testing.T) {
	const begun = `{"n":1,"stage":"format","event":"start"}` + "\n"
	for _, c := range []struct {
		summary string
		run     Runner
		want    string
	}{
		{"it says so", says(begun+`{"n":2,"stage":"format","event":"fail","text":"mkfs: no room\nmore"}`+"\n", "ore: x\n", guest.Exit{Code: 1}), "stage format: mkfs: no room\nmore"},
		{"it says nothing", says(begun, "panic: x\ngoroutine 1\n", guest.Exit{Code: 2}), "stage format: the installer ended with exit code 2; it said:\n    panic: x\n    goroutine 1"},
		{"it never began", says("", "", guest.Exit{Code: 127}), "the installer ended with exit code 127"},
		{"it was killed", says(begun, "", guest.Exit{Code: 137, Signal: "SIGKILL"}), "stage format: the installer was ended by SIGKILL"},
		{"nonsense", says(begun+"hello\n", "", guest.Exit{}), `stage format: report: "hello": invalid character`},
		{"no stage", says(`{"n":1}`+"\n", "", guest.Exit{}), `no stage`},
		{"an endless line", says(strings.Repeat("x", maxLine+2), "", guest.Exit{}), "report: a line of more than 65536 bytes"},
		{"the machine was lost", func(context.Context, guest.Command) (guest.Exit, error) {
			return guest.Exit{}, errors.New("home is broken")
		}, "home is broken"},
	} {
		_, err := order().Install(t.Context(), Visit{Name: "m0", Run: c.run, Console: io.Discard})
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v\nwant %s", c.summary, err, c.want)
		}
	}
}

// A machine that tells stages without end is not kept in memory.
func TestStagesAreBounded(t *testing.T) {
	var out strings.Builder
	for i := range 3 * maxStages {
		fmt.Fprintf(&out, `{"n":%d,"stage":"s%d","event":"start"}`+"\n", i+1, i)
	}
	stages, err := order().Install(t.Context(), Visit{Name: "m0", Run: says(out.String(), "", guest.Exit{}), Console: io.Discard})
	if err != nil || len(stages) != maxStages {
		t.Errorf("%d stages, %v", len(stages), err)
	}
}

// A hearing that hears nothing calls for the end.
func TestSilence(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	h := &hearing{now: time.Now}
	h.silence = time.AfterFunc(time.Millisecond, func() { cancel(errors.New("silent")) })
	<-ctx.Done()
	if err := h.line([]byte(`{"stage":"base","event":"start"}`)); err != nil {
		t.Fatal(err)
	}
	if err := h.line([]byte(`{"stage":"base","event":"advance","text":"write everything out"}`)); err != nil {
		t.Fatal(err)
	}
	if err := h.quiet(); !strings.Contains(err.Error(), `nothing for 15m0s since it was at "write everything out"`) {
		t.Errorf("it does not say what it was doing: %v", err)
	}
	if !h.silence.Stop() { // a word sets the clock anew
		t.Error("the clock was not set again")
	}
}

// The depot passes bytes both ways, and its end ends all connections.
func TestDepot(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	service, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	go func() {
		for {
			c, err := service.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := OpenDepot(l, socket)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 4)
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "ping" {
		t.Fatalf("%q, %v", b, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(b); err == nil {
		t.Errorf("%d bytes after the end", n)
	}
}

func FuzzReports(f *testing.F) {
	f.Add([]byte(`{"n":1,"stage":"base","event":"start","text":"x"}` + "\n"))
	f.Add([]byte("{\"stage\":\"base\",\"done\":-1}\n\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := &hearing{now: time.Now}
		l := &lines{do: h.line}
		if n, err := l.Write(b); n != len(b) || err != nil {
			t.Fatalf("%d of %d, %v", n, len(b), err)
		}
		if stages, _ := h.end(); len(stages) > maxStages || len(l.rest) > maxLine {
			t.Fatalf("%d stages, %d bytes kept", len(stages), len(l.rest))
		}
	})
}
