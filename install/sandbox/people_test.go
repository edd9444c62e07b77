package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
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
)

// The ordinary users that tests become. Only the one with subordinate ids has
// to exist, since newuidmap asks for its name.
const (
	nameStem   = "ore-sandbox-test-" // and the process's id: the tests may run twice on a host
	uidWithout = 54321
)

// tiers are all tiers, each run by who has just that one.
var tiers = []Tier{Root, SubIDs, Single}

func TestMain(m *testing.M) {
	Main()
	if len(os.Args) == 5 && strings.Contains("spawn worker person", os.Args[1]) {
		if err := playTest(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if madeUser {
		exec.Command("userdel", nameWith()).Run()
	}
	os.RemoveAll(binaryFolder())
	os.Exit(code)
}

// playTest is what the test's executable does in its other roles: an ordinary
// user's process that spawns a worker, and that worker.
func playTest(args []string) error {
	role, tier, name, dir := args[0], Tier(args[1]), args[2], args[3]
	switch role {
	case "person":
		return asPerson(name, dir)
	case "spawn":
		return Spawn(context.Background(), Options{
			Tier: tier, Args: []string{"worker", string(tier), name, dir},
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		})
	}
	s, err := Enter(Options{Owners: filepath.Join(dir, "owners")})
	if err != nil {
		return err
	}
	if err := workers[name](s, dir); err != nil {
		return err
	}
	return s.Close()
}

// spawner returns the command that spawns a worker as the user of a tier.
func spawner(t testing.TB, tier Tier, name, dir string) *exec.Cmd {
	t.Helper()
	return process(t, "spawn", tier, name, dir)
}

// personally does work as the user of a tier and returns what it wrote.
func personally(t testing.TB, tier Tier, name, dir string) string {
	t.Helper()
	out, err := process(t, "person", tier, name, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%s as the user of %s: %v\n%s", name, tier, err, out)
	}
	return string(out)
}

func process(t testing.TB, role string, tier Tier, name, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(executable(t), role, string(tier), name, dir)
	cmd.Dir = "/"
	if uid := person(t, tier); uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	return cmd
}

// inside runs a worker as the user of a tier and returns what it wrote.
func inside(t testing.TB, tier Tier, name, dir string) string {
	t.Helper()
	cmd := spawner(t, tier, name, dir)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("worker %s in %s: %v\n%s%s", name, tier, err, out.String(), said.String())
	}
	t.Log(said.String())
	return out.String()
}

// folder makes a folder that belongs to the user of a tier.
func folder(t testing.TB, tier Tier) string {
	t.Helper()
	return folderIn(t, tier, os.TempDir())
}

func folderIn(t testing.TB, tier Tier, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "ore-sandbox-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	uid := int(person(t, tier))
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	return dir
}

var (
	madeUser     bool
	withSubIDs   = sync.OnceValues(makeUser)
	copiedBinary = sync.OnceValues(copyBinary)
)

// person returns the user that has a tier and none better.
func person(t testing.TB, tier Tier) uint32 {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("this test becomes several users: run it as root")
	}
	switch tier {
	case SubIDs:
		uid, err := withSubIDs()
		if err != nil {
			t.Fatal(err)
		}
		return uid
	case Single:
		return uidWithout
	}
	return 0
}

func nameWith() string { return nameStem + strconv.Itoa(os.Getpid()) }

// makeUser makes the user with subordinate ids.
func makeUser() (uint32, error) {
	out, err := exec.Command("useradd", "--no-create-home", "--user-group", nameWith()).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("useradd: %w: %s", err, out)
	}
	madeUser = true
	b, err := os.ReadFile("/etc/subuid")
	if err != nil {
		return 0, fmt.Errorf("%w: install uidmap", err)
	}
	if !bytes.Contains(b, []byte(nameWith()+":")) {
		out, err := exec.Command("usermod", "--add-subuids", "700000-765535", "--add-subgids", "700000-765535", nameWith()).CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("usermod: %w: %s", err, out)
		}
	}
	u, err := user.Lookup(nameWith())
	if err != nil {
		return 0, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(uid), err
}

// executable returns a copy of the test's executable that every user may run;
// the go command keeps its own where only root comes.
func executable(t testing.TB) string {
	t.Helper()
	path, err := copiedBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// binaryFolder is removed when all tests are done.
func binaryFolder() string {
	return filepath.Join(os.TempDir(), "ore-sandbox-test."+strconv.Itoa(os.Getpid()))
}

func copyBinary() (string, error) {
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", err
	}
	dir := binaryFolder()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "test")
	return path, os.WriteFile(path, b, 0o755)
}

func ownerNumber(st os.FileInfo) uint32 { return st.Sys().(*syscall.Stat_t).Uid }

// listing tells what every file of a tree is meant to be, one line each.
func listing(s *Sandbox, root string) (string, error) {
	var lines []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		o, err := s.Owner(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		line := fmt.Sprintf("%s %v %d:%d", name, o.Mode, o.UID, o.GID)
		if o.Mode&fs.ModeDevice != 0 {
			line += fmt.Sprintf(" %d:%d", o.Major, o.Minor)
		}
		if o.Capability != nil {
			line += fmt.Sprintf(" %x", o.Capability)
		}
		lines = append(lines, line)
		return nil
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n", err
}

// differences shows the lines that are only in one of two texts.
func differences(a, b string) string {
	var out strings.Builder
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, l := range x {
		if !slices.Contains(y, l) {
			fmt.Fprintln(&out, "-", l)
		}
	}
	for _, l := range y {
		if !slices.Contains(x, l) {
			fmt.Fprintln(&out, "+", l)
		}
	}
	return out.String()
}
