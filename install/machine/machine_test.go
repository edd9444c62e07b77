package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ore"
	"ore/image"
	"ore/install/configure"
	"ore/install/disk"
	"ore/install/pour"
	"ore/install/recipe"
	"ore/namespace"
	"ore/squashfs"
)

// installerWord makes this test's executable an installer, which can be killed.
const installerWord = "machine-installer"

func TestMain(m *testing.M) {
	if err := namespace.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(os.Args) > 2 && os.Args[1] == installerWord {
		os.Exit(installer(os.Args[2]))
	}
	os.Exit(apart(m))
}

// apart runs the tests in a mount namespace of their own: whoever else makes a
// namespace meanwhile, as other packages' tests do, would take copies of what is
// mounted with it, and keep the disks in use.
func apart(m *testing.M) int {
	const variable = "ORE_MACHINE_TEST_APART"
	if os.Getuid() != 0 || os.Getenv(variable) != "" {
		return m.Run()
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), variable+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal is of the thread's end
	err := c.Run()
	if c.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "tests run where others see their mounts:", err)
		return m.Run()
	}
	return c.ProcessState.ExitCode()
}

// installer installs what its standard input says below a folder, and reports.
func installer(target string) int {
	r, err := recipe.Parse(os.Stdin)
	if err == nil {
		out := json.NewEncoder(os.Stdout)
		o := options(target)
		o.Report = func(r recipe.Report) { _ = out.Encode(r) }
		_, err = Install(context.Background(), r, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// command runs the installer's programs, but loads no modules of this host.
func command(ctx context.Context, argv []string) ([]byte, error) {
	if argv[0] == "modprobe" {
		return nil, nil
	}
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Env = append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1")
	return c.CombinedOutput()
}

// options are those of an installer on this host.
func options(target string) Options {
	return Options{
		Target: target, Command: command,
		Pour: func(ctx context.Context, t Tree) error {
			from := map[ore.Digest][]string{}
			for d, b := range t.Recipe.Blobs {
				from[d] = b.From
			}
			return pour.Pour(ctx, pour.Options{Target: t.Target, Manifest: *t.Recipe.Image, From: from, Watch: t.Watch})
		},
		Onto: func(_ context.Context, t Tree) error {
			t.Watch.Tell(ore.Event{Stage: "unpack", Text: "hello"})
			t.Watch.Tell(ore.Event{Stage: "steps", Text: "step", Final: true})
			return os.WriteFile(filepath.Join(t.Target, "installed"), []byte("hello"), 0o644)
		},
	}
}

func sh(t testing.TB, argv ...string) string {
	t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	c.Env = append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

const mib = 1 << 20

// memory is a folder in memory, where there is one, since every install waits for
// its disk again and again.
func memory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "ore-machine-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// loop makes a disk of a sparse file.
func loop(t testing.TB, size int64) (device, file string) {
	t.Helper()
	file = filepath.Join(memory(t), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	return attach(t, file), file
}

func attach(t testing.TB, file string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("this kernel has no loop devices")
	}
	if b, _ := os.ReadFile("/proc/mounts"); !strings.Contains(string(b), " /dev devtmpfs ") {
		t.Skip("/dev is no devtmpfs: the device files of partitions appear only there")
	}
	device := sh(t, "losetup", "-f", "--show", file)
	t.Cleanup(func() {
		exec.Command("partx", "-d", device).Run() // those that an install made
		sh(t, "losetup", "-d", device)
	})
	return device
}

// sum tells whether a file has changed.
func sum(t testing.TB, file string) uint32 {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return h.Sum32()
}

// content is what the test image's files hold.
var content = map[string]string{
	"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/hostname": "image\n", "usr/bin/true": "#!/bin/sh\n",
}

// big is a file of the test image, of several blocks.
func big() []byte {
	b := make([]byte, 4*mib)
	r := rand.NewChaCha8([32]byte{7})
	r.Read(b)
	return b
}

// sample makes an image of one layer and a recipe for it. It costs what it is:
// a tenth of a second.
func sample(t testing.TB, device string) recipe.Recipe {
	t.Helper()
	name := filepath.Join(t.TempDir(), "layer")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := squashfs.NewWriter(f, squashfs.Options{Compression: squashfs.Zstd, Level: 1, Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	add := func(e squashfs.Entry, b []byte) {
		e.Size = int64(len(b))
		if err := w.Add(e, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{".", "etc", "usr", "usr/bin"} {
		add(squashfs.Entry{Path: dir, Mode: fs.ModeDir | 0o755}, nil)
	}
	for name, text := range content {
		add(squashfs.Entry{Path: name, Mode: 0o644}, []byte(text))
	}
	add(squashfs.Entry{Path: "usr/big", Mode: 0o644}, big())
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	env := ore.Environment{Version: ore.EnvironmentVersion, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Arch: "amd64",
		Packages: []ore.Package{{Name: "sample", Version: "1", Arch: "all", Path: "x", Size: 1, Digest: ore.DigestOf([]byte("x"))}}}
	layer := image.Layer{Digest: ore.DigestOf(b), Size: int64(len(b)), Compression: "zstd", Key: env.Key()}
	return recipe.Recipe{
		Version: recipe.Version, Name: "m0", Seed: "test/m0", Environment: env, Strategy: recipe.Whole,
		Storage: ore.Storage{Disks: []ore.Disk{{Match: ore.Match{Path: device}, Partitions: []ore.Partition{
			{Size: ore.Share{Rest: true}, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/"}},
			{Size: ore.Share{Bytes: 64 * mib}, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/var/lib/data"}},
			{Size: ore.Share{Bytes: 16 * mib}, FileSystem: ore.FileSystem{FS: "swap"}},
		}}}},
		Image: &image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf(nil), Layers: []image.Layer{layer},
			Bytes: 4*mib + 100, Files: 7},
		Blobs: map[ore.Digest]recipe.Source{layer.Digest: {Size: layer.Size, From: []string{name}}},
	}
}

// look says how far a recipe has come on a device.
func look(t testing.TB, r recipe.Recipe, device string) disk.Layout {
	t.Helper()
	all, err := disk.System{Root: "/"}.Devices()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(d disk.Device) bool { return d.Path() == device })
	if i < 0 {
		t.Fatalf("%s is not among %v", device, all)
	}
	s, err := disk.Look(all[i])
	if err != nil {
		t.Fatal(err)
	}
	l, err := disk.Arrange(Wish(r), []disk.Seen{s})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// whole looks whether a device holds the machine that the recipe describes.
func whole(t testing.TB, r recipe.Recipe, device string) {
	t.Helper()
	l := look(t, r, device)
	if s := l.State(); s != disk.Installed {
		t.Errorf("%s is %v", device, s)
	}
	at := t.TempDir()
	for _, m := range l.FileSystems() {
		if m.FS == "ext4" {
			sh(t, "e2fsck", "-fn", m.Device)
		}
		if m.Mount == "/" {
			sh(t, "mount", "-o", "ro", m.Device, at)
		}
	}
	defer sh(t, "umount", at)
	want := map[string]string{"etc/hostname": r.Name + "\n", "usr/big": string(big())}
	for name, text := range content {
		if _, own := want[name]; !own {
			want[name] = text
		}
	}
	for name, text := range want {
		if b, err := os.ReadFile(filepath.Join(at, name)); err != nil || string(b) != text {
			t.Errorf("%s: %v, %d bytes instead of %d", name, err, len(b), len(text))
		}
	}
	b, err := os.ReadFile(filepath.Join(at, "etc/fstab"))
	if err != nil {
		t.Error(err)
	}
	for _, m := range l.FileSystems() {
		if !strings.Contains(string(b), "UUID="+m.UUID+" ") || sh(t, "blkid", "-p", "-o", "value", "-s", "UUID", m.Device) != m.UUID {
			t.Errorf("%s: not the UUID of fstab:\n%s", m.Device, b)
		}
	}
}

// unused fails when something is mounted below a folder.
func unused(t testing.TB, target string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(b), " "+target) {
		t.Errorf("%v: left mounted below %s:\n%s", err, target, b)
	}
}

// talk keeps reports, and looks at their form.
type talk struct {
	t   testing.TB
	all []recipe.Report
}

func (k *talk) take(r recipe.Report) {
	if !r.Valid() || r.Number != int64(len(k.all)+1) || r.At.IsZero() {
		k.t.Errorf("report %d: %+v", len(k.all)+1, r)
	}
	k.all = append(k.all, r)
}

// stages returns the begins and ends, "+base -base", and of a failure "!base".
func (k *talk) stages() string {
	var text []string
	for _, r := range k.all {
		if sign := map[string]string{recipe.Start: "+", recipe.End: "-", recipe.Fail: "!"}[r.Event]; sign != "" {
			text = append(text, sign+r.Stage)
		}
	}
	return strings.Join(text, " ")
}

func (k *talk) last() string { return k.all[len(k.all)-1].Text }

func install(t testing.TB, r recipe.Recipe, change ...func(*Options)) (Outcome, *talk, error) {
	t.Helper()
	target := t.TempDir()
	k := &talk{t: t}
	o := options(target)
	o.Report = k.take
	for _, c := range change {
		c(&o)
	}
	out, err := Install(t.Context(), r, o)
	unused(t, target)
	return out, k, err
}

func TestInstall(t *testing.T) {
	device, file := loop(t, 300*mib)
	r := sample(t, device)
	loads := 0
	out, k, err := install(t, r, func(o *Options) {
		o.Load = func(target string, s configure.Start) (string, error) {
			loads++
			if s.Kernel != "" || !strings.HasPrefix(s.Arguments, "root=UUID=") {
				t.Errorf("%+v", s)
			}
			_, err := os.Stat(filepath.Join(target, "usr/big"))
			return "kexec", err
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if last := k.all[len(k.all)-1]; last.Text != "kexec" {
		t.Errorf("of how it starts again it is told %q", last.Text)
	}
	if loads != 1 {
		t.Errorf("the kernel was handed over %d times", loads)
	}
	if want := "+installer start -installer start +hardware -hardware +partition -partition +format -format +base -base +configure -configure +restart"; k.stages() != want {
		t.Errorf("told %s\nwant %s", k.stages(), want)
	}
	if out.Already || len(out.Layout.Disks) != 1 {
		t.Errorf("%+v", out)
	}
	whole(t, r, device)
	before := sum(t, file)
	out, k, err = install(t, r)
	if err != nil || !out.Already || k.stages() != "+installer start -installer start +hardware -hardware +restart" {
		t.Errorf("a second time: %v %v %s", out.Already, err, k.stages())
	}
	if sum(t, file) != before {
		t.Error("the second time something was written")
	}
	r.Name = "other"
	if _, k, err = install(t, r); err == nil || !strings.Contains(err.Error(), "a machine is installed there") || k.stages() != "+installer start -installer start +hardware !hardware" {
		t.Errorf("another machine: %v %s", err, k.stages())
	}
	if r.Storage.Disks[0].Wipe = true; sum(t, file) != before {
		t.Error("another machine was written over it")
	}
	if _, _, err = install(t, r); err != nil {
		t.Error(err)
	}
	whole(t, r, device)
}

func TestPackagesAndScripts(t *testing.T) {
	device, _ := loop(t, 300*mib)
	r := sample(t, device)
	r.Partial, r.Strategy, r.Archive = true, recipe.Base, []string{"mirror:http://mirror.example.org/debian"}
	r.Environment.Manual = []string{"sample"}
	_, k, err := install(t, r)
	if err != nil {
		t.Fatal(err)
	}
	if want := "+base -base +packages -packages +scripts -scripts +configure -configure +restart"; !strings.HasSuffix(k.stages(), want) {
		t.Errorf("told %s", k.stages())
	}
	whole(t, r, device)
}

// A failed step is tried again with what was there, as long as the machine runs.
func TestGoesOn(t *testing.T) {
	device, _ := loop(t, 300*mib)
	r := sample(t, device)
	r.Partial, r.Strategy, r.Archive = true, recipe.Base, []string{"mirror:http://mirror.example.org/debian"}
	r.Environment.Manual = []string{"sample"}
	keep := t.TempDir()
	tries := 0
	failing := func(o *Options) {
		o.Keep = keep
		o.Onto = func(_ context.Context, tree Tree) error {
			tree.Watch.Tell(ore.Event{Stage: "steps", Text: "db"})
			name := filepath.Join(tree.Target, "tried")
			if _, err := os.Stat(name); (err == nil) != (tries == 1) {
				t.Errorf("try %d: %v", tries, err)
			}
			if tries++; tries != 2 {
				return errors.Join(errors.New("step db: exit status 1: no such table"), os.WriteFile(name, nil, 0o600))
			}
			return nil
		}
	}
	_, k, err := install(t, r, failing)
	if err == nil || k.last() != "step db: exit status 1: no such table" || !strings.HasSuffix(k.stages(), "+scripts !scripts") {
		t.Errorf("%v %s", err, k.stages())
	}
	if _, k, err = install(t, r, failing); err != nil || !strings.Contains(k.stages(), "-hardware +format -format +packages -packages +scripts -scripts +configure") {
		t.Errorf("%v %s", err, k.stages())
	}
	whole(t, r, device)
	tries = 0
	first := r
	first.Environment.Steps = []ore.Step{{Name: "db", Run: "false"}}
	first.Storage.Disks[0].Wipe = true
	if _, _, err = install(t, first, failing); err == nil {
		t.Error("it does not fail")
	}
	mended := first
	mended.Environment.Steps = []ore.Step{{Name: "db", Run: "true"}}
	mended.Begun = first.Digest()
	if _, k, err = install(t, mended, failing); err != nil || !strings.Contains(k.stages(), "-hardware +format -format +packages") {
		t.Errorf("with a step that was mended: %v %s", err, k.stages())
	}
	whole(t, mended, device)
	if _, _, err = install(t, mended, failing); err == nil || !strings.Contains(err.Error(), "nobody knows") {
		t.Errorf("on disks that are finished, of one recipe or the other: %v", err)
	}
	r.Seed = "another machine"
	r.Storage.Disks[0].Wipe = true
	tries = 0 // it starts over, once more
	if _, k, _ = install(t, r, failing); !strings.Contains(k.stages(), "+base") {
		t.Errorf("%s", k.stages())
	}
	if err := os.RemoveAll(keep); err != nil { // the power is lost
		t.Fatal(err)
	}
	tries = 0
	if _, k, _ = install(t, r, failing); !strings.Contains(k.stages(), "+base") {
		t.Errorf("%s", k.stages())
	}
}
