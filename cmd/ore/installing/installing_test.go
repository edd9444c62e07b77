package installing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ore"
	"ore/image"
	"ore/netboot"
	"ore/netboot/link"
	"ore/netboot/roster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text is written to by one goroutine and read by another.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *text) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Reset()
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// usage marks errors of the command line in these tests.
type usage struct{ error }

var kernel = []byte("an installer's kernel")

// bench is a shell over a site that plays.
type bench struct {
	dir      string
	out, err text
	json     bool
	quiet    bool
	closed   int
	wants    []Want
	loader   string
	anywhere bool // commands are not about a list of machines
	disks    []ore.Firmware
	learned  chan string // of machines that are ready
	swept    []int       // of how many systems was known, each time that the site was swept
}

func newBench(t *testing.T) *bench {
	b := &bench{dir: t.TempDir(), learned: make(chan string, 10), loader: filepath.Join(t.TempDir(), "undionly.kpxe")}
	if err := os.WriteFile(b.loader, []byte("loader"), 0o644); err != nil {
		t.Fatal(err)
	}
	return b
}

// site plays what a site does.
func (b *bench) site(_ context.Context, list string) (*Site, error) {
	if list != b.dir && !b.anywhere {
		return nil, fmt.Errorf("the list is in %s", list)
	}
	return &Site{
		System: func(_ context.Context, w Want) (roster.System, error) {
			if w.Name == "broken" {
				return roster.System{}, errors.New("environment: no such package")
			}
			b.wants = append(b.wants, w)
			recipe := fmt.Sprintf("%s is to be %s, see %s", w.Name, w.Job.Name, netboot.Here)
			return roster.System{Kernel: ore.DigestOf(kernel), Arguments: "quiet", Recipe: []byte(recipe)}, nil
		},
		Disk: func(_ context.Context, j ore.Job, f ore.Firmware) (image.Manifest, bool, error) {
			b.disks = append(b.disks, f)
			return image.Manifest{Key: ore.Key(ore.DigestOf([]byte(j.Name))), Layers: []image.Layer{{Digest: ore.DigestOf(nil), Size: 3 << 20}}}, len(b.disks) == 1, nil
		},
		Blob: func(_ context.Context, d ore.Digest) (io.ReadSeekCloser, error) {
			return nil, os.ErrNotExist
		},
		Loaders: func(context.Context) (netboot.Loaders, error) { return netboot.Loaders{BIOS: b.loader}, nil },
		Rest:    func(ore.Watcher) (http.Handler, error) { return http.NotFoundHandler(), nil },
		Learn: func(m roster.Machine, y roster.System) error {
			b.learned <- fmt.Sprintf("%s: %s, %d stages", m.Name, y.Recipe, len(m.Stages))
			return errors.New("no room for what was learned")
		},
		Sweep: func(all []roster.System) error {
			b.swept = append(b.swept, len(all))
			return nil
		},
		Close: func() error { b.closed++; return nil },
	}, nil
}

// run gives one command line.
func (b *bench) run(ctx context.Context, args ...string) error {
	b.out.reset()
	b.err.reset()
	c := Command(&Shell{Out: &b.out, Err: &b.err, JSON: &b.json, Quiet: &b.quiet, Open: b.site,
		Usage: func(err error) error { return usage{err} },
		Job: func(path string) (ore.Job, error) {
			if path != "node.yaml" {
				return ore.Job{}, os.ErrNotExist
			}
			return ore.Job{Name: "node"}, nil
		}})
	if !b.anywhere {
		args = append(args, "--dir", b.dir)
	}
	c.SetArgs(args)
	c.SetErr(io.Discard)
	c.SetOut(io.Discard)
	c.SilenceErrors, c.SilenceUsage = true, true
	return c.ExecuteContext(ctx)
}

func (b *bench) must(t *testing.T, args ...string) string {
	t.Helper()
	if err := b.run(t.Context(), args...); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return b.out.String()
}

func (b *bench) roster(t *testing.T) *roster.Roster {
	t.Helper()
	r, err := roster.Open(b.dir, roster.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func card(t *testing.T, s string) link.MAC {
	m, err := link.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const one, two = "52:54:00:00:00:01", "52:54:00:00:00:02"

// TestListAssignForget is what an operator does with two machines, of which one
// was seen.
func TestListAssignForget(t *testing.T) {
	b := newBench(t)
	if s := b.must(t, "ls"); !strings.Contains(s, "no machine has asked") {
		t.Errorf("an empty list: %s", s)
	}
	if _, _, err := b.roster(t).Ask(roster.Caller{MAC: card(t, one), Firmware: "UEFI"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if s := b.must(t, "ls"); !strings.Contains(s, one) || !strings.Contains(s, "waiting") || !strings.Contains(s, "UEFI") {
		t.Errorf("one waits:\n%s", s)
	}
	if s := b.must(t, "assign", "--waiting", two, "-f", "node.yaml"); !strings.Contains(s, "m-525400000002 ("+two+") is assigned") || !strings.Contains(s, "m-525400000001") {
		t.Errorf("assigned:\n%s", s)
	}
	if len(b.wants) != 2 || b.wants[0].Firmware != "" || b.wants[1].Firmware != ore.UEFI || b.wants[1].Job.Name != "node" || b.closed != 1 {
		t.Errorf("the site was asked for %+v, and closed %d times", b.wants, b.closed)
	}
	if s := b.must(t, "assign", two, "--name", "node2", "-f", "node.yaml"); !strings.Contains(s, "node2 ("+two+")") {
		t.Errorf("a name:\n%s", s)
	}
	b.json = true
	var list []row
	if err := json.Unmarshal([]byte(b.must(t, "ls")), &list); err != nil || len(list) != 2 || list[1].Name != "node2" || list[1].State != roster.Assigned || list[1].Want == "" {
		t.Errorf("as JSON: %v, %+v", err, list)
	}
	if strings.Contains(b.out.String(), "oken") {
		t.Error("a secret's hash is listed")
	}
	b.json = false
	b.must(t, "assign", two, "--install-from", "packages", "--restart", "firmware", "--capture=false", "--again", "-f", "node.yaml")
	if w := b.wants[len(b.wants)-1]; w.From != "packages" || w.Restart != "firmware" || !w.Discard || b.wants[0].From != "" || b.wants[0].Restart != "" || b.wants[0].Discard {
		t.Errorf("the site was asked for %+v, and for %+v at first", w, b.wants[0])
	}
	b.must(t, "forget", "node2", one)
	if want := []int{2, 2, 2, 0}; !slices.Equal(b.swept, want) {
		t.Errorf("the site was swept for %v systems, want %v", b.swept, want)
	}
	if s := b.must(t, "ls"); !strings.Contains(s, "no machine has asked") {
		t.Errorf("forgotten:\n%s", s)
	}
}

// TestDisk makes the image of a disk, and finds it made.
func TestDisk(t *testing.T) {
	b := newBench(t)
	b.anywhere = true
	for _, args := range [][]string{{"disk"}, {"disk", "-f", "node.yaml", "--firmware", "coreboot"}} {
		var u usage
		if err := b.run(t.Context(), args...); !errors.As(err, &u) {
			t.Errorf("%q: %v", args, err)
		}
	}
	if s := b.must(t, "disk", "-f", "node.yaml"); !strings.HasPrefix(s, "made   disk ") || !strings.Contains(s, "3.1 MB") {
		t.Errorf("the first time: %s", s)
	}
	if s := b.must(t, "disk", "-f", "node.yaml", "--firmware", "uefi"); !strings.HasPrefix(s, "found  disk ") {
		t.Errorf("the second time: %s", s)
	}
	if !slices.Equal(b.disks, []ore.Firmware{"", ore.UEFI}) || b.closed != 2 {
		t.Errorf("the site was asked for disks with %q, and closed %d times", b.disks, b.closed)
	}
	b.json = true
	var m image.Manifest
	if err := json.Unmarshal([]byte(b.must(t, "disk", "-f", "node.yaml")), &m); err != nil || m.Size() != 3<<20 {
		t.Errorf("as JSON: %v, %+v", err, m)
	}
}

func TestWordsThatMakeNoSense(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		args  string
		says  string
		usage bool
	}{
		{"serve", "--interface", true},
		{"serve --interface lo --range 10.0.0.1-10.0.0.9 --proxy-dhcp", "use one of them", true},
		{"serve --interface lo --range 10.0.0.1", "10.0.0.50-10.0.0.99", true},
		{"serve --interface lo --router 10.0.0.1", "--range", true},
		{"serve --interface lo --range 10.0.0.1-10.0.0.9 --router x", "not an address", true},
		{"serve --interface lo --lease 1s", "minute", true},
		{"serve --interface nosuchcard", "interface nosuchcard", false},
		{"assign " + one, "-f", false},
		{"assign -f node.yaml", "--waiting", false},
		{"assign --waiting -f node.yaml", "no machine waits", false},
		{"assign " + one + " " + two + " --name x -f node.yaml", "one machine's", false},
		{"assign nobody -f node.yaml", "card's address", false},
		{"assign 52:54:00:00:00 -f node.yaml", "not an address of a network card", false},
		{"assign " + one + " --name Up_Per -f node.yaml", "a-z, 0-9", false},
		{"assign " + one + " --name broken -f node.yaml", "no such package", false},
		{"assign " + one + " -f other.yaml", "not exist", false},
		{"assign " + one + " --firmware coreboot -f node.yaml", "bios, uefi", false},
		{"assign " + one + " --timeout 3s -f node.yaml", "--wait", false},
		{"assign " + one + " --install-from tape -f node.yaml", "image, disk, base, packages, mirror", false},
		{"assign " + one + " --restart never -f node.yaml", "kexec, firmware", false},
		{"wait " + one, "not on the list", false},
		{"forget nobody", "card's address", false},
		{"forget " + one, "not on the list", false},
	} {
		err := b.run(t.Context(), strings.Fields(c.args)...)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, without %q", c.args, err, c.says)
		}
		var u usage
		if errors.As(err, &u) != c.usage {
			t.Errorf("%s: a fault of the command line: %v, want %v", c.args, !c.usage, c.usage)
		}
	}
	if s := b.must(t, "ls"); !strings.Contains(s, "no machine") {
		t.Errorf("refused orders leave something:\n%s", s)
	}
}

// inside says that this process is in a network namespace of its own.
const inside = "ORE_TEST_INSTALLING_INSIDE"

// alone runs the test again in a network namespace of its own.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("only root may make a network namespace in which DHCP is served")
	}
	c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	c.Env = append(os.Environ(), inside+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// says waits until a text has been written.
func says(t *testing.T, in *text, what string, ended <-chan error) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	end := time.After(time.Minute)
	for !strings.Contains(in.String(), what) {
		select {
		case <-look.C:
		case err := <-ended:
			t.Fatalf("it ended with %v, without %q: %s", err, what, in)
		case <-end:
			t.Fatalf("no %q: %s", what, in)
		}
	}
}

// fakeMachine boots and installs itself, as far as a server can tell.
func fakeMachine(t *testing.T, url, mac string, reports ...string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(url string) string {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	script := get(url + "/boot/" + card(t, mac).Path())
	_, token, ok := strings.Cut(script, "/identity/")
	token, _, _ = strings.Cut(token, " ")
	if !ok {
		t.Fatalf("it is not to install itself:\n%s", script)
	}
	resp, err := client.Post(url+"/report/"+token, "application/jsonl", strings.NewReader(strings.Join(reports, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", resp.Status, b, err)
	}
}

// TestServeAndWait serves, assigns two machines, of which one ends well and one
// does not, and waits for both.
func TestServeAndWait(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, line := range []string{"link set lo up", "link add br0 type bridge", "address add 10.9.0.1/24 dev br0", "link set br0 up"} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	b := newBench(t)
	server := newBench(t)
	server.dir, server.json = b.dir, true
	b.must(t, "assign", one, "--name", "good", "-f", "node.yaml")
	b.must(t, "assign", two, "--name", "bad", "-f", "node.yaml")
	if err := b.run(t.Context(), "wait"); err == nil || !strings.Contains(err.Error(), "ore install serve") {
		t.Errorf("nobody serves: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.run(ctx, "serve", "--interface", "br0", "--proxy-dhcp") }()
	says(t, &server.out, "HTTP at", ended)
	var first told
	if err := json.Unmarshal([]byte(strings.SplitN(server.out.String(), "\n", 2)[0]), &first); err != nil {
		t.Fatal(err)
	}
	_, url, _ := strings.Cut(first.Text, "HTTP at ")
	if err := b.run(t.Context(), "wait", "good", "--timeout", "50ms"); !errors.Is(err, errTimeout) {
		t.Errorf("a short wait: %v", err)
	}
	waited := make(chan error, 1)
	w := newBench(t)
	w.dir = b.dir
	go func() { waited <- w.run(t.Context(), "wait") }()
	says(t, &w.err, "good: assigned", waited)
	fakeMachine(t, url, two, `{"n":1,"stage":"partition","event":"start"}`, `{"n":2,"stage":"partition","event":"fail","text":"foreign data"}`)
	says(t, &w.err, "bad: failed", waited)
	fakeMachine(t, url, one, `{"n":1,"stage":"base","event":"start"}`, `{"n":2,"stage":"base","event":"end"}`,
		`{"n":3,"stage":"restart","event":"start"}`, `{"n":4,"stage":"ready","event":"end"}`, `{"n":5,"stage":"ready","event":"end"}`)
	err := <-waited
	if err == nil || !strings.Contains(err.Error(), "1 of 2 machines failed") || !strings.Contains(err.Error(), "bad ("+two+"): stage partition: foreign data") {
		t.Errorf("waiting ended with %v", err)
	}
	says(t, &w.err, "good: installed in", waited)
	b.must(t, "wait", "good") // it is that already
	if s := b.must(t, "assign", "good", "-f", "node.yaml"); !strings.Contains(s, "is that already") {
		t.Errorf("again: %s", s)
	}
	if s := b.must(t, "ls"); !strings.Contains(s, "foreign data") {
		t.Errorf("the list does not say why:\n%s", s)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if server.closed != 1 {
		t.Errorf("the server's site was closed %d times", server.closed)
	}
	if got := <-server.learned; !strings.HasPrefix(got, "good: good is to be node, see ") || !strings.HasSuffix(got, ", 3 stages") || len(server.learned) > 0 {
		t.Errorf("learned of %s, and %d more", got, len(server.learned))
	}
	for _, want := range []string{"no room for what was learned", `"machine":"good"`, `"stage":"base"`, "failed: foreign data"} {
		if !strings.Contains(server.out.String(), want) {
			t.Errorf("not told: %s\n%s", want, server.out.String())
		}
	}
}
