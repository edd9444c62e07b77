package roster

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ore"
	"ore/netboot/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, dir string) *Roster {
	t.Helper()
	r, err := Open(dir, Limits{Silence: time.Minute, Attempts: 2})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func card(n int) link.MAC { return link.MAC{0x52, 0x54, 0, 0, byte(n >> 8), byte(n)} }

func caller(n int) Caller {
	return Caller{MAC: card(n), Address: netip.MustParseAddr("10.9.0.50"), Firmware: "BIOS", UUID: "aa"}
}

func system(what string) System {
	return System{Kernel: ore.DigestOf([]byte("kernel")), Initramfs: []ore.Digest{ore.DigestOf([]byte("initramfs"))}, Arguments: "quiet", Recipe: []byte(what)}
}

func assign(t testing.TB, r *Roster, n int, name, what string) Machine {
	t.Helper()
	m, err := r.Assign(Order{MAC: card(n), Name: name, System: system(what)}, day)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ask(t testing.TB, r *Roster, n int, now time.Time) (Machine, string) {
	t.Helper()
	m, token, err := r.Ask(caller(n), now)
	if err != nil {
		t.Fatal(err)
	}
	return m, token
}

func hear(t testing.TB, r *Roster, token string, p Report, now time.Time) Machine {
	t.Helper()
	m, _, err := r.Hear(token, p, now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func expect(t *testing.T, m Machine, s State, next Step) {
	t.Helper()
	if m.State != s || m.Next() != next {
		t.Errorf("%s is %s and does %d next, want %s and %d: %+v", m.MAC, m.State, m.Next(), s, next, m)
	}
}

func TestLife(t *testing.T) {
	r := open(t, t.TempDir())
	m, token := ask(t, r, 1, day)
	expect(t, m, Waiting, Wait)
	expect(t, assign(t, r, 1, "m1", "a"), Assigned, Install)
	m, token = ask(t, r, 1, day.Add(time.Second))
	expect(t, m, Installing, Install)
	hear(t, r, token, Report{Number: 1, Stage: "partition", Event: Start}, day.Add(2*time.Second))
	hear(t, r, token, Report{Number: 2, Stage: "partition", Event: End, Text: "2 partitions"}, day.Add(5*time.Second))
	m = hear(t, r, token, Report{Number: 3, Stage: "ready", Event: End}, day.Add(6*time.Second))
	expect(t, m, Installing, Install) // whoever did not restart is not ready
	m = hear(t, r, token, Report{Number: 4, Stage: "restart", Event: Start}, day.Add(7*time.Second))
	expect(t, m, Restarting, Local)
	m, none := ask(t, r, 1, day.Add(8*time.Second))
	expect(t, m, Restarting, Local)
	m = hear(t, r, token, Report{Number: 5, Stage: "ready", Event: End}, day.Add(9*time.Second))
	expect(t, m, Installed, Local)
	if m.Is != system("a").Digest() || none != "" {
		t.Errorf("installed: %+v", m)
	}
	if p := m.Stages[0]; p.Name != "partition" || p.End.Sub(p.Start) != 3*time.Second || p.Note != "2 partitions" || p.Machine != "m1" {
		t.Errorf("stages: %+v", m.Stages)
	}
	expect(t, assign(t, r, 1, "m1", "a"), Installed, Local) // it is that already
	expect(t, assign(t, r, 1, "m1", "b"), Assigned, Install)
	if _, known, _ := r.System(system("a").Digest()); !known {
		t.Error("what the machine still is has been forgotten")
	}
	m, err := r.Assign(Order{MAC: card(1), Name: "m1", System: system("b"), Again: true}, day)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, m, Assigned, Install)
}

// TestRestartIsTimedHere has a machine start a system whose clock is two hours off: what
// its restart took is what it took here.
func TestRestartIsTimedHere(t *testing.T) {
	r := open(t, t.TempDir())
	assign(t, r, 1, "m1", "a")
	_, token := ask(t, r, 1, day)
	hear(t, r, token, Report{Number: 1, Stage: "base", Event: Start, At: day.Add(time.Second)}, day.Add(time.Second))
	hear(t, r, token, Report{Number: 2, Stage: "base", Event: End, At: day.Add(4 * time.Second)}, day.Add(4*time.Second))
	hear(t, r, token, Report{Number: 3, Stage: "restart", Event: Start, At: day.Add(5 * time.Second), Text: "kexec"}, day.Add(5*time.Second))
	m := hear(t, r, token, Report{Number: 4, Stage: "ready", Event: End, At: day.Add(2 * time.Hour)}, day.Add(12*time.Second))
	if n := len(m.Stages); n != 3 || m.Stages[0].End.Sub(m.Stages[0].Start) != 3*time.Second || m.Stages[1].End.Sub(m.Stages[1].Start) != 7*time.Second || m.Stages[1].Note != "kexec" || !m.Stages[2].End.Equal(m.Stages[1].End) {
		t.Errorf("stages: %+v", m.Stages)
	}
}

func TestAgainInstallsWhatIsInstalled(t *testing.T) {
	r := open(t, t.TempDir())
	assign(t, r, 1, "m1", "a")
	_, token := ask(t, r, 1, day)
	hear(t, r, token, Report{Number: 1, Stage: "restart", Event: Start}, day)
	expect(t, hear(t, r, token, Report{Number: 2, Stage: "ready", Event: End}, day), Installed, Local)
	m, err := r.Assign(Order{MAC: card(1), Name: "m1", System: system("a"), Again: true}, day)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, m, Assigned, Install)
}

// TestPowerLost boots the installer again, so often and no more.
func TestPowerLost(t *testing.T) {
	r := open(t, t.TempDir())
	assign(t, r, 1, "m1", "a")
	_, first := ask(t, r, 1, day)
	hear(t, r, first, Report{Number: 9, Stage: "base", Event: Start}, day)
	m, second := ask(t, r, 1, day)
	expect(t, m, Installing, Install)
	if m.Tries != 1 || second == first {
		t.Errorf("before the second try says anything: %+v", m)
	}
	m = hear(t, r, second, Report{Number: 1, Stage: "format", Event: Start}, day)
	if len(m.Stages) != 1 || m.Stages[0].Name != "format" || m.Tries != 2 {
		t.Errorf("the second try goes on with the first: %+v", m)
	}
	if _, _, err := r.Hear(first, Report{Number: 10, Stage: "base", Event: End}, day); !errors.Is(err, ErrStranger) {
		t.Errorf("the first try's report: %v", err)
	}
	m, _ = ask(t, r, 1, day)
	expect(t, m, Failed, Wait)
	if !strings.Contains(m.Reason, "2 times") || !strings.Contains(m.Reason, "format") {
		t.Errorf("reason: %s", m.Reason)
	}
	expect(t, assign(t, r, 1, "m1", "a"), Assigned, Install)
}

// TestAskingIsNoTry has somebody ask in a machine's place, before and while it
// installs: it gets to its end. Who only asks, for however long, has said nothing.
func TestAskingIsNoTry(t *testing.T) {
	r := open(t, t.TempDir())
	assign(t, r, 1, "m1", "a")
	ask(t, r, 1, day)
	_, token := ask(t, r, 1, day)
	for range maxOffers - 1 {
		ask(t, r, 1, day.Add(time.Second))
	}
	hear(t, r, token, Report{Number: 1, Stage: "base", Event: Start}, day.Add(2*time.Second))
	_, other := ask(t, r, 1, day.Add(3*time.Second))
	m := hear(t, r, token, Report{Number: 2, Stage: "restart", Event: Start}, day.Add(4*time.Second))
	expect(t, m, Restarting, Local)
	if _, _, err := r.Hear(other, Report{Number: 1, Stage: "base", Event: Start}, day.Add(5*time.Second)); !errors.Is(err, ErrStranger) {
		t.Errorf("the other's report when the machine is nearly done: %v", err)
	}
	m = hear(t, r, token, Report{Number: 3, Stage: "ready", Event: End}, day.Add(6*time.Second))
	if expect(t, m, Installed, Local); m.Tries != 1 {
		t.Errorf("%d tries", m.Tries)
	}
	assign(t, r, 2, "m2", "a")
	for n := range 6 {
		ask(t, r, 2, day.Add(time.Duration(n)*heardEvery))
	}
	failed, _, err := r.Expire(day.Add(time.Minute))
	if err != nil || len(failed) != 1 || !strings.Contains(failed[0].Reason, "it never called home") {
		t.Errorf("one that asked a minute long: %+v, %v", failed, err)
	}
}

func TestSilenceFails(t *testing.T) {
	r := open(t, t.TempDir())
	assign(t, r, 1, "m1", "a")
	assign(t, r, 2, "m2", "a")
	assign(t, r, 3, "m3", "a")
	_, one := ask(t, r, 1, day)
	_, two := ask(t, r, 2, day)
	hear(t, r, one, Report{Number: 1, Stage: "packages", Event: Start}, day.Add(50*time.Second))
	hear(t, r, two, Report{Number: 1, Stage: "restart", Event: Start}, day.Add(20*time.Second))
	ask(t, r, 2, day.Add(70*time.Second)) // it restarts again and again: no sign of life
	failed, next, err := r.Expire(day.Add(75 * time.Second))
	if err != nil || len(failed) != 0 || !next.Equal(day.Add(80*time.Second)) {
		t.Errorf("failed: %+v, next %s, %v", failed, next, err)
	}
	failed, next, err = r.Expire(day.Add(80 * time.Second))
	if err != nil || len(failed) != 1 || failed[0].Name != "m2" || !next.Equal(day.Add(110*time.Second)) {
		t.Errorf("failed: %+v, next %s, %v", failed, next, err)
	}
	failed, _, err = r.Expire(day.Add(110 * time.Second))
	if err != nil || len(failed) != 1 || !strings.Contains(failed[0].Reason, "packages") {
		t.Errorf("failed: %+v, %v", failed, err)
	}
	if _, err := r.Holder(one); !errors.Is(err, ErrStranger) {
		t.Errorf("the failed machine may still report: %v", err)
	}
}

func TestReports(t *testing.T) {
	r := open(t, t.TempDir())
	assign(t, r, 1, "m1", "a")
	_, token := ask(t, r, 1, day)
	for _, c := range []struct {
		summary string
		report  Report
		want    string
	}{
		{"no stage", Report{Number: 1, Event: Start}, "is none of"},
		{"no event", Report{Number: 1, Stage: "base"}, "start, advance"},
		{"no number", Report{Stage: "base", Event: Start}, "begins with 1"},
		{"long text", Report{Number: 1, Stage: "base", Event: Start, Text: strings.Repeat("x", 5000)}, "4096"},
	} {
		if _, _, err := r.Hear(token, c.report, day); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.summary, err)
		}
	}
	if _, _, err := r.Hear("guess", Report{Number: 1, Stage: "base", Event: Start}, day); !errors.Is(err, ErrStranger) {
		t.Errorf("a guessed token: %v", err)
	}
	hear(t, r, token, Report{Number: 5, Stage: "base", Event: Start}, day)
	if _, fresh, err := r.Hear(token, Report{Number: 5, Stage: "base", Event: Start}, day); err != nil || fresh {
		t.Errorf("heard twice: %v", err)
	}
	m := hear(t, r, token, Report{Number: 6, Stage: "base", Event: Fail, Text: "no space"}, day)
	expect(t, m, Failed, Wait)
	if m.Reason != "stage base: no space" {
		t.Errorf("reason: %s", m.Reason)
	}
}

// A machine that falls silent is said to have failed, with its last word.
func TestSilenceTellsTheLastWord(t *testing.T) {
	r := open(t, t.TempDir())
	assign(t, r, 1, "m1", "a")
	_, token := ask(t, r, 1, day)
	hear(t, r, token, Report{Number: 1, Stage: "hardware", Event: Start, At: day}, day)
	hear(t, r, token, Report{Number: 2, Stage: "hardware", Event: End, At: day, Text: "/dev/vda of 4096 MiB"}, day)
	if _, _, err := r.Expire(day.Add(2 * defaultSilence)); err != nil {
		t.Fatal(err)
	}
	m, _, err := r.Find(card(1))
	if err != nil {
		t.Fatal(err)
	}
	if want := "nothing was heard of it for 1m0s: its last word was of the stage hardware: /dev/vda of 4096 MiB"; m.State != Failed || m.Reason != want {
		t.Errorf("%s: %s, want %s", m.State, m.Reason, want)
	}
}

// Systems are those that some machine is to become.
func TestSystems(t *testing.T) {
	r := open(t, t.TempDir())
	assign(t, r, 1, "m1", "a")
	assign(t, r, 2, "m2", "a")
	assign(t, r, 3, "m3", "b")
	if _, err := r.Forget(card(3)); err != nil {
		t.Fatal(err)
	}
	all, err := r.Systems()
	if err != nil || len(all) != 1 || all[0].Digest() != system("a").Digest() {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestBadOrdersAreRefused(t *testing.T) {
	r := open(t, t.TempDir())
	assign(t, r, 1, "m1", "a")
	bad := system("a")
	bad.Arguments = "a=${net0/mac}"
	line := system("a")
	line.Arguments = "quiet\nshell"
	for _, c := range []struct {
		order Order
		want  string
	}{
		{Order{card(2), "M 2", system("a"), false}, "not a host's name"},
		{Order{card(2), "m1", system("a"), false}, "is that of 52:54:00:00:00:01"},
		{Order{card(2), "m2", System{}, false}, "not sha256"},
		{Order{card(2), "m2", bad, false}, "hold $"},
		{Order{card(2), "m2", line, false}, "printable"},
	} {
		if _, err := r.Assign(c.order, day); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.want, err)
		}
	}
	if known, err := r.Forget(card(1)); err != nil || !known {
		t.Error(known, err)
	}
	if all, _ := r.All(); len(all) != 0 {
		t.Errorf("left: %+v", all)
	}
	if _, known, _ := r.System(system("a").Digest()); known {
		t.Error("a system that nobody is to become is kept")
	}
}

func TestStrangersAreBounded(t *testing.T) {
	r := open(t, t.TempDir())
	for n := range maxWaiting {
		ask(t, r, n, day)
	}
	if _, _, err := r.Ask(caller(1000), day); !errors.Is(err, ErrCrowded) {
		t.Errorf("one more: %v", err)
	}
	expect(t, assign(t, r, 1001, "m1", "a"), Assigned, Install) // operators are not held up
	m, _ := ask(t, r, 1000, day.Add(2*strangerTime))
	expect(t, m, Waiting, Wait)
}

// TestOperatorsAreOtherProcesses assigns from another process while one awaits
// it, and kills that process with SIGKILL in the midst of its changes.
func TestOperatorsAreOtherProcesses(t *testing.T) {
	if dir := os.Getenv("ROSTER_DIR"); dir != "" {
		r := open(t, dir)
		for n := 0; ; n++ {
			assign(t, r, 1+n%50, "m"+card(1+n%50).Path(), "a")
			os.Stdout.WriteString("x")
		}
	}
	dir := t.TempDir()
	r := open(t, dir)
	ask(t, r, 1, day)
	c := exec.Command("/proc/self/exe", "-test.run=^TestOperatorsAreOtherProcesses$")
	c.Env = append(os.Environ(), "ROSTER_DIR="+dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	m, err := r.Await(ctx, card(1), func(m Machine) bool { return m.State != Waiting })
	if err != nil {
		t.Fatal(err)
	}
	expect(t, m, Assigned, Install)
	if _, err := out.Read(make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	again := open(t, dir) // as after a restart
	all, err := again.All()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d machines: %v", len(all), err)
	}
	if m, _ := ask(t, r, 1, day); m.State != Installing {
		t.Errorf("after the kill: %+v", m)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new-*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if _, err := r.Await(ended, card(99), func(Machine) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a machine that never comes: %v", err)
	}
}

// TestAnotherInstaller does not touch a machine that is what it is to be: that
// another program would make it so, or from something else, is no other system. A
// machine that is yet to be installed is by the newest.
func TestAnotherInstaller(t *testing.T) {
	r := open(t, t.TempDir())
	old := system("a")
	old.Becomes = ore.DigestOf([]byte("node1"))
	next := old
	next.Kernel, next.Initramfs, next.Recipe = ore.DigestOf([]byte("newer")), nil, []byte("b")
	order := func(s System) Machine {
		t.Helper()
		m, err := r.Assign(Order{MAC: card(1), Name: "m1", System: s}, day)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	order(old)
	expect(t, order(next), Assigned, Install)
	if s, ok, err := r.System(old.Becomes); err != nil || !ok || s.Kernel != next.Kernel || string(s.Recipe) != "b" {
		t.Errorf("it is installed by %+v, %v, %v", s, ok, err)
	}
	_, token := ask(t, r, 1, day)
	hear(t, r, token, Report{Number: 1, Stage: "restart", Event: Start}, day)
	hear(t, r, token, Report{Number: 2, Stage: "ready", Event: End}, day)
	expect(t, order(old), Installed, Local)
	old.Becomes = ore.DigestOf([]byte("node1 with a user more"))
	expect(t, order(old), Assigned, Install)
	old.Becomes = "node1"
	if err := old.Check(); err == nil {
		t.Error("a name that is no digest is taken")
	}
}

// TestRecipesAreFiles keeps a recipe as long as a machine is, or is to become,
// what it makes; another process finds it, and one that was changed is refused.
func TestRecipesAreFiles(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	recipes := func() int {
		t.Helper()
		list, err := os.ReadDir(filepath.Join(dir, "recipes"))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	assign(t, r, 1, "m1", "a")
	assign(t, r, 2, "m2", "a")
	assign(t, r, 2, "m2", "b")
	if s, ok, err := open(t, dir).System(system("b").Digest()); err != nil || !ok || string(s.Recipe) != "b" || s.Digest() != system("b").Digest() {
		t.Errorf("%+v, %v, %v", s, ok, err)
	}
	if n := recipes(); n != 2 {
		t.Errorf("%d recipes of two systems", n)
	}
	if _, err := r.Forget(card(2)); err != nil {
		t.Fatal(err)
	}
	if n := recipes(); n != 1 {
		t.Errorf("%d recipes of one system", n)
	}
	if err := os.WriteFile(r.recipe(ore.DigestOf([]byte("a"))), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.System(system("a").Digest()); err == nil || !strings.Contains(err.Error(), "assign the machine again") {
		t.Errorf("a recipe that was changed: %v", err)
	}
	next := system("c")
	next.Becomes = system("d").Digest()
	for _, next.Recipe = range [][]byte{[]byte("c"), []byte("d")} { // the second takes the first one's place
		if _, err := r.Assign(Order{MAC: card(4), Name: "m4", System: next}, day); err != nil {
			t.Fatal(err)
		}
		if n := recipes(); n != 2 {
			t.Errorf("%d recipes of two systems", n)
		}
	}
	if _, err := r.Forget(card(4)); err != nil {
		t.Fatal(err)
	}
	assign(t, r, 3, "m3", "a") // writes it anew
	if s, _, err := r.System(system("a").Digest()); err != nil || string(s.Recipe) != "a" {
		t.Errorf("%+v, %v", s, err)
	}
	stray := r.recipe(ore.DigestOf([]byte("stray")))
	if err := os.WriteFile(stray, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if open(t, dir); recipes() != 1 {
		t.Error("what a writer that was killed left stays")
	}
}
