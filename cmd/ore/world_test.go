package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ore"
)

// program is the name under which the test binary is the command.
const program = "ore"

// deadline ends a command that hangs; the slowest, a build on a busy machine,
// takes a fraction of it.
const deadline = 8 * time.Minute

// world is what all tests share: a copy of the program that everybody may
// execute, the users, and their state, so that packages are fetched and
// environments built once for all tests.
type world struct {
	once   sync.Once
	err    error
	dir    string
	mu     sync.Mutex // guards what follows
	people map[string]*person
	made   []string // users to remove
}

// theWorld is made by the first test that needs it and ended by TestMain.
var theWorld = world{people: map[string]*person{}}

func (w *world) begin() error {
	w.once.Do(func() {
		// Not below the folder of the test: a socket's path must be short, and
		// other users must be able to enter.
		if w.dir, w.err = os.MkdirTemp("", "ore-e2e-"); w.err != nil {
			return
		}
		if w.err = os.Chmod(w.dir, 0o755); w.err != nil {
			return
		}
		w.err = copyProgram(filepath.Join(w.dir, program))
	})
	return w.err
}

func copyProgram(to string) error {
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (w *world) end() error {
	var errs []error
	for _, p := range w.people {
		errs = append(errs, p.release())
	}
	for _, name := range w.made {
		if out, err := exec.Command("userdel", name).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("userdel %s: %w: %s", name, err, out))
		}
	}
	if w.dir != "" {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

// person is somebody who uses ore.
type person struct {
	name     string
	uid, gid uint32
	from, to uint32 // subordinate ids
	dir      string // working folder
	home     string // ORE_HOME
	env      []string
}

// The users that the tests know.
const (
	root   = "root"
	subIDs = "ore-test-sub" // has subordinate ids: the usual user of a Debian host
	oneID  = "ore-test-one" // has none
)

// as returns the user name with its state, and has the test fail if anything of
// the user's is left when it ends.
func as(t *testing.T, name string) *person {
	t.Helper()
	p := theWorld.person(t, name)
	before := p.traces(t)
	t.Cleanup(func() {
		if after := p.traces(t); !slices.Equal(before, after) {
			t.Errorf("left behind by %s:\n  %s\nwhich before was:\n  %s", p.name, strings.Join(after, "\n  "), strings.Join(before, "\n  "))
		}
	})
	return p
}

// someone is the user that most tests run as.
func someone(t *testing.T) *person {
	t.Helper()
	if os.Getuid() != 0 {
		return as(t, "") // whoever runs the tests
	}
	return as(t, subIDs)
}

func (w *world) person(t *testing.T, name string) *person {
	t.Helper()
	if os.Getuid() != 0 && name != "" {
		t.Skipf("this test becomes user %s: run it as root", name)
	}
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.people[name]; p != nil {
		return p
	}
	p, err := w.newPerson(name)
	if err != nil {
		t.Fatal(err)
	}
	w.people[name] = p
	return p
}

func (w *world) newPerson(name string) (*person, error) {
	p := &person{name: name, uid: uint32(os.Getuid()), gid: uint32(os.Getgid())}
	if name != "" && name != root {
		if err := w.makeUser(p); err != nil {
			return nil, err
		}
	}
	p.dir = filepath.Join(w.dir, "work-"+strconv.Itoa(int(p.uid)))
	p.home = filepath.Join(w.dir, "h"+strconv.Itoa(int(p.uid)))
	for _, d := range []string{p.dir, p.home} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
		if err := os.Chown(d, int(p.uid), int(p.gid)); err != nil {
			return nil, err
		}
	}
	p.env = []string{
		"HOME=" + p.dir, "ORE_HOME=" + p.home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8",
		"ORE_MIRROR=" + os.Getenv("ORE_MIRROR"), "http_proxy=" + os.Getenv("http_proxy"),
	}
	return p, nil
}

func (w *world) makeUser(p *person) error {
	args := []string{"--no-create-home", "--user-group"}
	if p.name == oneID {
		args = append(args, "-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0")
	}
	// Several runs of the tests at once must not see each other's processes.
	p.name += "-" + strconv.Itoa(os.Getpid())
	if out, err := exec.Command("useradd", append(args, p.name)...).CombinedOutput(); err != nil {
		return fmt.Errorf("useradd %s: %w: %s", p.name, err, out)
	}
	w.made = append(w.made, p.name)
	u, err := user.Lookup(p.name)
	if err != nil {
		return err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	p.uid, p.gid = uint32(uid), uint32(gid)
	return errors.Join(err1, err2, p.findRange())
}

// findRange reads the user's subordinate ids (subuid(5)).
func (p *person) findRange() error {
	b, err := os.ReadFile("/etc/subuid")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, line := range strings.Split(string(b), "\n") {
		var first, count uint32
		if rest, ok := strings.CutPrefix(line, p.name+":"); ok {
			if _, err := fmt.Sscanf(rest, "%d:%d", &first, &count); err != nil {
				return fmt.Errorf("/etc/subuid: %q: %w", line, err)
			}
			p.from, p.to = first, first+count
		}
	}
	return err
}

// owns says whether a process or file of uid is the user's.
func (p *person) owns(uid uint32) bool {
	return uid == p.uid && p.uid != 0 || uid >= p.from && uid < p.to
}

// outcome is how a command ended.
type outcome struct {
	code     int
	out, err string
	took     time.Duration
}

// String shows an outcome in a test's message.
func (o outcome) String() string {
	return fmt.Sprintf("exit code %d\nstdout: %s\nstderr: %s", o.code, o.out, o.err)
}

// command makes a command of the user's.
func (p *person) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(theWorld.dir, program), args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	if p.uid != uint32(os.Getuid()) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: p.uid, Gid: p.gid}}
	}
	return cmd
}

// ore runs the command to its end.
func (p *person) ore(t *testing.T, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return finish(t, p.command(ctx, args...))
}

func finish(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	begun := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return outcome{code: cmd.ProcessState.ExitCode(), out: out.String(), err: errs.String(), took: time.Since(begun)}
}

// must runs the command and wants it to succeed.
func (p *person) must(t *testing.T, args ...string) outcome {
	t.Helper()
	o := p.ore(t, args...)
	if o.code != 0 {
		t.Fatalf("ore %s: %v", strings.Join(args, " "), o)
	}
	return o
}

// refused runs the command, and wants its exit code and the words in what it says.
func (p *person) refused(t *testing.T, code int, words []string, args ...string) {
	t.Helper()
	o := p.ore(t, args...)
	if o.code != code {
		t.Errorf("ore %s: not exit code %d: %v", strings.Join(args, " "), code, o)
	}
	for _, w := range words {
		if !strings.Contains(o.err, w) {
			t.Errorf("ore %s: does not say %q: %v", strings.Join(args, " "), w, o)
		}
	}
}

// file writes a file in the user's working folder.
func (p *person) file(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, int(p.uid), int(p.gid)); err != nil {
		t.Fatal(err)
	}
	return file
}

// results makes a new folder for results that the user can write.
func (p *person) results(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(p.dir, "results-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(p.uid), int(p.gid)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// only returns the path of the one job's folder in results.
func only(t *testing.T, results string) string {
	t.Helper()
	list, err := os.ReadDir(results)
	if err != nil || len(list) != 1 {
		t.Fatalf("folder of results: %v, %v: not one job", list, err)
	}
	return filepath.Join(results, list[0].Name())
}

// result reads the result.json of the one job in results.
func result(t *testing.T, results string) ore.Result {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(only(t, results), "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r ore.Result
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
