package guest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ore/guest"
	"ore/guest/inside"
	"ore/guest/wire"
	"ore/vm/home"
)

// asInit makes the test program be ore-init.
const asInit = "ORE_TEST_AS_INIT"

func TestMain(m *testing.M) {
	if os.Getenv(asInit) != "" {
		inside.Main()
		return
	}
	os.Exit(m.Run())
}

// local is the machine's half as a process of this host.
type local struct {
	*guest.Conn
	dir string
	cmd *exec.Cmd
}

// serve starts the serving half and greets it.
func serve(t *testing.T, id guest.Identity) *local {
	t.Helper()
	id.Token = "secret"
	dir := t.TempDir()
	j, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "identity.json"), j, 0o600)
	ours, theirs, err := home.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "serve", dir)
	cmd.Env = append(os.Environ(), asInit+"=1")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	c, err := guest.Accept(t.Context(), ours, guest.Want{Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); cmd.Wait() })
	return &local{c, dir, cmd}
}

// result is all that came of a command.
type result struct {
	guest.Exit
	out, bad string
	err      error
}

func (m *local) do(ctx context.Context, c guest.Command) result {
	var out, bad bytes.Buffer
	c.Stdout, c.Stderr = &out, &bad
	e, err := m.Exec(ctx, c)
	return result{e, out.String(), bad.String(), err}
}

func sh(script string) guest.Command { return guest.Command{Args: []string{"/bin/sh", "-c", script}} }

func TestExecTellsHowACommandEnded(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	denied := filepath.Join(m.dir, "denied")
	os.WriteFile(denied, []byte("#!/bin/sh\n"), 0o600)
	broken := filepath.Join(m.dir, "broken")
	os.WriteFile(broken, []byte("#!/no/interpreter\n"), 0o700)
	for _, c := range []struct {
		summary string
		cmd     guest.Command
		want    guest.Exit
		out     string
		bad     string
	}{
		{"success", sh("echo out; echo bad >&2"), guest.Exit{}, "out\n", "bad\n"},
		{"exit code", sh("exit 42"), guest.Exit{Code: 42}, "", ""},
		{"largest code", sh("exit 255"), guest.Exit{Code: 255}, "", ""},
		{"killed", sh("kill -9 $$"), guest.Exit{Code: 137, Signal: "SIGKILL"}, "", ""},
		{"terminated", sh("kill $$"), guest.Exit{Code: 143, Signal: "SIGTERM"}, "", ""},
		{"not found", guest.Command{Args: []string{"no-such-program"}}, guest.Exit{Code: 127}, "", "ore-init: no-such-program: not found\n"},
		{"no such path", guest.Command{Args: []string{"/no/such"}}, guest.Exit{Code: 127}, "", "ore-init: /no/such: not found\n"},
		{"not executable", guest.Command{Args: []string{denied}}, guest.Exit{Code: 126}, "", "ore-init: " + denied + ": permission denied\n"},
		{"a folder", guest.Command{Args: []string{"/etc"}}, guest.Exit{Code: 126}, "", "ore-init: /etc: is a folder\n"},
		{"no interpreter", guest.Command{Args: []string{broken}}, guest.Exit{Code: 127}, "", "ore-init: " + broken + ": its interpreter is not there\n"},
		{"script", guest.Command{Script: "echo $1-$0", Args: []string{"x"}}, guest.Exit{}, "x-" + m.dir + "/run/scripts/", ""},
		{"script with its interpreter", guest.Command{Script: "#!/bin/cat\nhello\n"}, guest.Exit{}, "#!/bin/cat\nhello\n", ""},
		{"environment", guest.Command{Script: "echo $A $USER $HOME $LANG", Env: []string{"A=a b"}}, guest.Exit{}, "a b root /root C.UTF-8\n", ""},
		{"variable given anew", guest.Command{Args: []string{"env"}, Env: []string{"A=1", "A=2", "LANG=C"}}, guest.Exit{}, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + m.dir + "/run/bin\nHOME=/root\nUSER=root\nLOGNAME=root\nSHELL=/bin/bash\nLANG=C\n", ""},
		{"PATH of the command", guest.Command{Args: []string{"denied"}, Env: []string{"PATH=" + m.dir}}, guest.Exit{Code: 126}, "", "ore-init: " + denied + ": permission denied\n"},
		{"empty input", sh("cat; echo end"), guest.Exit{}, "end\n", ""},
		{"input", guest.Command{Args: []string{"cat"}, Stdin: strings.NewReader("typed")}, guest.Exit{}, "typed", ""},
		{"secret", guest.Command{Script: "cat $KEY; stat -c %a $KEY_FILE", Secrets: map[string][]byte{"KEY": []byte("k\n")}}, guest.Exit{}, "k\n400\n", ""},
		{"work folder", sh("pwd"), guest.Exit{}, filepath.Join(m.dir, "job") + "\n", ""},
		{"another folder", guest.Command{Args: []string{"pwd"}, Dir: "/usr"}, guest.Exit{}, "/usr\n", ""},
	} {
		got := m.do(t.Context(), c.cmd)
		if got.err != nil || got.Exit != c.want || !strings.HasPrefix(got.out, c.out) || (c.out == "" && got.out != "") || got.bad != c.bad {
			t.Errorf("%s: got %+v, want %+v %q %q", c.summary, got, c.want, c.out, c.bad)
		}
	}
}

func TestExecRefusesWhatTheMachineCannotDo(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	for summary, c := range map[string]guest.Command{
		"no command":     {},
		"unknown user":   {Args: []string{"true"}, User: "nobody-of-that-name"},
		"missing folder": {Args: []string{"true"}, Dir: "/no/such/folder"},
		"secret's name":  {Args: []string{"true"}, Secrets: map[string][]byte{"../x": nil}},
	} {
		if r := m.do(t.Context(), c); !wire.IsRefused(r.err) {
			t.Errorf("%s: %+v", summary, r)
		}
	}
}

func TestExecAsAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can change users")
	}
	m := serve(t, guest.Identity{Name: "m0"})
	r := m.do(t.Context(), guest.Command{Args: []string{"sh", "-c", "id -un; echo $HOME"}, User: "nobody", Dir: "/"})
	if r.out != "nobody\n/nonexistent\n" || r.err != nil {
		t.Errorf("%+v", r)
	}
}

func TestOutputIsWholeAndInOrder(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	r := m.do(t.Context(), sh("seq 1 300000; seq 1 300000 >&2"))
	var want strings.Builder
	for i := range 300000 {
		fmt.Fprintln(&want, i+1)
	}
	if r.err != nil || r.out != want.String() || r.bad != want.String() {
		t.Errorf("%d and %d bytes, want %d: %v", len(r.out), len(r.bad), want.Len(), r.err)
	}
}

// gate is a writer that lets nothing through until it is opened.
type gate struct {
	open chan struct{}
	n    int
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.n += len(p)
	return len(p), nil
}

func TestSlowReaderHoldsTheCommandBack(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	const total = 20 << 20
	counter := filepath.Join(m.dir, "written")
	script := fmt.Sprintf("i=0; while [ $i -lt 20 ]; do head -c 1048576 /dev/zero; i=$((i+1)); echo $i > %s; done", counter)
	g := &gate{open: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := m.Exec(t.Context(), guest.Command{Script: script, Stdout: g})
		done <- err
	}()
	// Another command goes through while the first one is held back; it ends
	// when the first has stopped to write.
	r := m.do(t.Context(), sh(fmt.Sprintf("a=x; while b=$(cat %s 2>/dev/null); [ \"$a\" != \"$b\" ]; do a=$b; sleep 0.3; done; echo $a", counter)))
	if n := strings.TrimSpace(r.out); r.err != nil || len(n) > 1 {
		t.Errorf("the command could write %s MB which nobody read (%v)", n, r.err)
	}
	close(g.open)
	if err := <-done; err != nil || g.n != total {
		t.Errorf("%d bytes, error %v", g.n, err)
	}
}

func TestInputThatNobodyReads(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	r, w := io.Pipe()
	defer r.Close()
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}()
	e, err := m.Exec(t.Context(), guest.Command{Args: []string{"sh", "-c", "sleep 0.1; exit 5"}, Stdin: r})
	if e.Code != 5 || err != nil {
		t.Errorf("%v, %v", e, err)
	}
	r.Close()
	<-wrote
}

func TestInputEndsWithTheCommand(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	r, w, err := os.Pipe() // never written to, but can be interrupted
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if e, err := m.Exec(t.Context(), guest.Command{Args: []string{"true"}, Stdin: r}); e.Code != 0 || err != nil {
		t.Errorf("%v, %v", e, err)
	}
	w.Write([]byte("x"))
	b := make([]byte, 2)
	if n, err := r.Read(b); n != 1 || err != nil {
		t.Errorf("the input cannot be read any more after the command: %d, %v", n, err)
	}
}

// upTo ends a context when a writer has seen a text.
type upTo struct {
	text string
	end  context.CancelFunc
	bytes.Buffer
}

func (u *upTo) Write(p []byte) (int, error) {
	n, err := u.Buffer.Write(p)
	if strings.Contains(u.String(), u.text) {
		u.end()
	}
	return n, err
}

func TestCancelTerminatesThenKills(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	for _, c := range []struct {
		summary, script string
		want            guest.Exit
		after           string
		grace           time.Duration
	}{
		{"ends on SIGTERM", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done", guest.Exit{Code: 3}, "bye\n", time.Minute},
		{"ignores SIGTERM", "trap '' TERM; echo ready; while :; do sleep 0.01; done", guest.Exit{Code: 137, Signal: "SIGKILL"}, "", 500 * time.Millisecond},
		{"child needs its grace", "(trap 'sleep 0.1; echo late; exit' TERM; echo ready; while :; do sleep 0.01; done) & wait", guest.Exit{Code: 143, Signal: "SIGTERM"}, "late\n", time.Minute},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &upTo{text: "ready\n", end: cancel}
		e, err := m.Exec(ctx, guest.Command{Script: c.script, Stdout: out, Grace: c.grace})
		if !errors.Is(err, context.Canceled) || e != c.want {
			t.Errorf("%s: %+v, %v", c.summary, e, err)
		}
		if got := strings.TrimPrefix(out.String(), "ready\n"); !strings.HasPrefix(got, c.after) {
			t.Errorf("%s: wrote %q after SIGTERM, want %q", c.summary, got, c.after)
		}
	}
}

func TestBackgroundProcessLivesOn(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	r := m.do(t.Context(), sh("sleep 1000 & echo $!"))
	pid := strings.TrimSpace(r.out)
	if r.err != nil || pid == "" {
		t.Fatalf("%+v", r)
	}
	if r := m.do(t.Context(), sh("kill -0 "+pid)); r.Code != 0 {
		t.Errorf("the process is gone with the command that started it: %+v", r)
	}
	r = m.do(t.Context(), guest.Command{Args: []string{"sh", "-c", "sleep 1000 & echo $!"}, Sweep: true})
	pid = strings.TrimSpace(r.out)
	if r := m.do(t.Context(), sh("while kill -0 "+pid+"; do sleep 0.01; done")); r.Code != 0 {
		t.Errorf("the process was not swept: %+v", r)
	}
}

func TestLateOutputOfAFilter(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	// On a busy computer the filter may take longer than it is waited for, so it has
	// several tries; were it not waited for, all would fail.
	var r result
	for range 50 {
		if r = m.do(t.Context(), sh("(sleep 0.05; echo late) & echo first")); r.out == "first\nlate\n" {
			return
		}
	}
	t.Errorf("%+v", r)
}

func TestNothingOutlivesHome(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	r := m.do(t.Context(), sh("setsid sleep 1000 >/dev/null 2>&1 & echo $!"))
	pid := strings.TrimSpace(r.out)
	running := make(chan error, 1)
	ready := &upTo{text: "ready", end: func() { m.Close() }}
	go func() {
		_, err := m.Exec(t.Context(), guest.Command{Script: "trap '' TERM HUP; echo ready; while :; do sleep 0.01; done", Stdout: ready})
		running <- err
	}()
	if err := <-running; err == nil {
		t.Error("a command whose home was cut: no error")
	}
	m.cmd.Wait()
	if _, err := os.Stat("/proc/" + pid); err == nil {
		t.Errorf("process %s outlived its machine", pid)
	}
}

func TestTerminal(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	in, typed := io.Pipe()
	defer in.Close()
	resize := make(chan guest.Size, 1)
	ready := &upTo{text: "first 24 80", end: func() {
		resize <- guest.Size{Rows: 50, Cols: 132}
	}}
	go typed.Write([]byte("go\n"))
	e, err := m.Exec(t.Context(), guest.Command{
		Script: "trap 'echo second $(stty size); exit 7' WINCH; test -t 0 && test -t 1 && test -t 2 || exit 1; read x; echo got $x; echo first $(stty size); while :; do sleep 0.01; done",
		Stdin:  in, Stdout: ready, TTY: &guest.TTY{Size: guest.Size{Rows: 24, Cols: 80}, Resize: resize},
	})
	text := ready.String()
	if e.Code != 7 || err != nil || !strings.Contains(text, "got go\r\n") || !strings.Contains(text, "second 50 132\r\n") {
		t.Errorf("%+v, %v, %q", e, err, text)
	}
}

func TestPutAndGet(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	src := t.TempDir()
	os.MkdirAll(filepath.Join(src, "data/sub"), 0o755)
	os.WriteFile(filepath.Join(src, "data/sub/one"), bytes.Repeat([]byte("one"), 500_000), 0o640)
	os.Link(filepath.Join(src, "data/sub/one"), filepath.Join(src, "data/two"))
	os.Symlink("sub/one", filepath.Join(src, "data/link"))
	os.WriteFile(filepath.Join(src, "tool"), []byte("#!/bin/sh\necho tool\n"), 0o755)
	os.WriteFile(filepath.Join(src, "x.log"), nil, 0o644)
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(guest.Pack(w, []string{filepath.Join(src, "data"), filepath.Join(src, "tool"), filepath.Join(src, "x.log")}))
	}()
	if err := m.Put(t.Context(), "", r); err != nil {
		t.Fatal(err)
	}
	if r := m.do(t.Context(), sh("./tool; cmp data/sub/one data/two && stat -c '%h %a' data/two; cat x.log; readlink data/link; ln -s /etc/shadow result.tsv; echo good > good.tsv")); r.out != "tool\n2 640\nsub/one\n" {
		t.Errorf("after put: %+v", r)
	}
	dst := t.TempDir()
	root, err := os.OpenRoot(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	r, w = io.Pipe()
	go func() {
		w.CloseWithError(m.Get(t.Context(), "/job", []string{"*.tsv", "data", "nothing*", "data/sub/*"}, w))
	}()
	names, err := guest.Extract(root, r, guest.Limits{})
	var refused *guest.Refusals
	if !errors.As(err, &refused) || refused.Total != 1 || !strings.Contains(err.Error(), `"result.tsv": symbolic link to "/etc/shadow"`) {
		t.Errorf("extract: %v", err)
	}
	if got := strings.Join(names, " "); !strings.Contains(got, "good.tsv") || !strings.Contains(got, "data/link") {
		t.Errorf("names: %s", got)
	}
	got, err := os.ReadFile(filepath.Join(dst, "data/link"))
	if err != nil || len(got) != 1_500_000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := m.Get(t.Context(), "/no/such/folder", []string{"*"}, io.Discard); !wire.IsRefused(err) {
		t.Errorf("get from nowhere: %v", err)
	}
	if err := m.Put(t.Context(), "/proc/nowhere", strings.NewReader("")); !wire.IsRefused(err) {
		t.Errorf("put into a folder that cannot be: %v", err)
	}
	if err := m.Put(t.Context(), "", strings.NewReader(strings.Repeat("garbage", 1000))); !wire.IsRefused(err) {
		t.Errorf("put of garbage: %v", err)
	}
}

func TestLaunchBetweenMachines(t *testing.T) {
	hosts := []guest.Host{{Name: "m0", IP: "10.0.0.1"}, {Name: "m1", IP: "10.0.0.2"}}
	a := serve(t, guest.Identity{Name: "m0", Hosts: hosts})
	b := serve(t, guest.Identity{Name: "m1", Hosts: hosts})
	a.OnLaunch(func(ctx context.Context, machine string, cmd guest.Command) (guest.Exit, error) {
		if machine != "m1" {
			return guest.Exit{}, fmt.Errorf("machine %s: not one of this job", machine)
		}
		cmd.Env = append(cmd.Env, "ORE_RANK=1", asInit+"=1")
		return b.Exec(ctx, cmd)
	})
	on := func(script string) result {
		return a.do(t.Context(), guest.Command{Script: script, Env: []string{asInit + "=1"}})
	}
	r := on("echo typed | ore-rsh -x -o BatchMode=yes -p 22 10.0.0.2 'cat; echo $ORE_RANK $HOSTNAME; echo bad >&2; exit 9'; echo code $?")
	if r.out != "typed\n1 m1\ncode 9\n" || r.bad != "bad\n" || r.err != nil {
		t.Errorf("%+v", r)
	}
	if r := on("ore-rsh -n m1 cat; ore-rsh m7 true; echo $?"); r.out != "255\n" || !strings.Contains(r.bad, "ore-rsh: machine m7: not one of this job") {
		t.Errorf("%+v", r)
	}
	// Killing the launcher ends the remote command.
	mark := filepath.Join(b.dir, "mark")
	r = on("ore-rsh -n m1 'echo $$ > " + mark + "; exec sleep 1000' & p=$!; while ! test -s " + mark + "; do sleep 0.01; done; kill $p; wait $p; echo $?")
	if r.out != "143\n" {
		t.Errorf("%+v", r)
	}
	pid, _ := os.ReadFile(mark)
	if r := b.do(t.Context(), sh("while kill -0 "+strings.TrimSpace(string(pid))+" 2>/dev/null; do sleep 0.01; done")); r.err != nil {
		t.Error(r.err)
	}
	// A remote command that does not read ends although input is left.
	if r := on("yes | ore-rsh m1 'exit 4'; echo $?"); r.out != "4\n" {
		t.Errorf("%+v", r)
	}
	if r := b.do(t.Context(), guest.Command{Script: "ore-rsh m0 true", Env: []string{asInit + "=1"}}); r.Code != 255 || !strings.Contains(r.bad, "does not launch") {
		t.Errorf("a machine that may not launch: %+v", r)
	}
}

func TestAcceptRefusesStrangers(t *testing.T) {
	for summary, say := range map[string]func(io.ReadWriter){
		"another token": func(h io.ReadWriter) { wire.SendHello(h, wire.Hello{Name: "m0", Token: "guess"}) },
		"no token":      func(h io.ReadWriter) { wire.SendHello(h, wire.Hello{Name: "m0"}) },
		"noise":         func(h io.ReadWriter) { h.Write(bytes.Repeat([]byte("noise"), 100)) },
	} {
		ours, theirs, err := home.SocketPair()
		if err != nil {
			t.Fatal(err)
		}
		go func() { say(theirs); theirs.Close() }()
		if _, err := guest.Accept(t.Context(), ours, guest.Want{Token: "secret"}); err == nil {
			t.Errorf("%s: no error", summary)
		}
	}
}

func TestAcceptTellsWhyAMachineDidNotBoot(t *testing.T) {
	ours, theirs, err := home.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	go wire.SendHello(theirs, wire.Hello{Name: "m3", Token: "secret", Stage: "layers", Error: "no\x1b[2J such device"})
	_, err = guest.Accept(t.Context(), ours, guest.Want{Token: "secret"})
	var boot *guest.BootError
	if !errors.As(err, &boot) || boot.Stage != "layers" || boot.Reason != "no [2J such device" {
		t.Errorf("got %v", err)
	}
}

func TestAcceptObeysItsContext(t *testing.T) {
	ours, theirs, err := home.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := guest.Accept(ctx, ours, guest.Want{Token: "secret"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCondition(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	is, err := m.Condition(t.Context())
	if err != nil || is.MemoryTotal <= 0 || is.MemoryAvailable <= 0 || is.DiskTotal <= 0 || is.Processes <= 0 {
		t.Errorf("%+v, %v", is, err)
	}
}

func TestPowerOff(t *testing.T) {
	m := serve(t, guest.Identity{Name: "m0"})
	if err := m.PowerOff(t.Context()); err != nil {
		t.Error(err)
	}
	<-m.Done()
	if _, err := m.Exec(t.Context(), sh("true")); err == nil {
		t.Error("exec after power off: no error")
	}
}
