package rpm

import (
	"bytes"
	"context"
	_ "embed" // the script
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ore"
	"ore/image"
	"ore/install/layer"
	"ore/install/output"
	"ore/install/sandbox"
	"ore/install/sandbox/confine"
	"ore/namespace"
)

//go:embed script.py
var script []byte

// scriptName is what the script is called in /in: not as a module that it imports.
const scriptName = "script.py"

// What programs see in the tree of programs, relative to it.
const (
	inPlace     = "in"     // what the maker gives
	targetPlace = "target" // the tree that is made
)

// macros are rpm's settings for the tree that is made (rpm's doc/manual/macros).
// Debian's rpm would keep its database in a home folder. What is mounted while
// scriptlets run is not rpm's to change.
const macros = "%_dbpath /" + dbPlace + "\n%_db_backend sqlite\n%_netsharedpath /dev:/proc:/sys\n"

// worker is one run inside the sandbox.
type worker struct {
	order
	sb    *sandbox.Sandbox
	watch ore.Watcher
	root  string // the tree of programs, which may be written to
	tree  string // the one that is made
}

// Worker does the work of a [Maker] inside a sandbox: it reads the order from in
// and writes messages to out. The command line that leads here is the Maker's Args.
func Worker(ctx context.Context, in io.Reader, out io.Writer) error {
	say := newSpeaker(out)
	last, err := work(ctx, in, say)
	if err != nil {
		return say.say(message{Error: image.Full(err).Error()})
	}
	return say.say(last)
}

func work(ctx context.Context, in io.Reader, say *speaker) (last message, err error) {
	w := &worker{watch: say.watch()}
	if err := json.NewDecoder(in).Decode(&w.order); err != nil {
		return last, fmt.Errorf("read order: %w", err)
	}
	w.sb, err = sandbox.Enter(sandbox.Options{Owners: w.Owners})
	if err != nil {
		return last, err
	}
	defer func() { err = errors.Join(err, w.sb.Close()) }()
	if err := w.prepare(); err != nil {
		return last, fmt.Errorf("prepare dnf: %w", err)
	}
	if w.Resolve != nil {
		last.Packages, err = w.resolve(ctx)
		return last, err
	}
	last.Done, err = w.install(ctx)
	return last, err
}

// prepare lays a folder to write to over the tree of programs, and mounts in it
// what the maker gives and the tree that is made. The mounts end with the worker.
func (w *worker) prepare() error {
	w.root, w.tree = filepath.Join(w.Work, "root"), filepath.Join(w.Work, "tree")
	upper, scratch := filepath.Join(w.Work, "upper"), filepath.Join(w.Work, "scratch")
	for _, d := range []string{w.root, w.tree, upper, scratch} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(w.In, scriptName), script, 0o644); err != nil {
		return err
	}
	if _, err := w.sb.Overlay([]string{w.Tools}, upper, scratch, w.root); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.root, "etc/rpm/macros"), []byte(macros), 0o644); err != nil {
		return err
	}
	if err := bind(w.In, filepath.Join(w.root, inPlace)); err != nil {
		return err
	}
	if err := confine.Restrict(filepath.Join(w.root, inPlace), unix.MS_RDONLY); err != nil {
		return err
	}
	return bind(w.tree, filepath.Join(w.root, targetPlace))
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", to, err)
	}
	return nil
}

// lend mounts in the tree that is made what scriptlets expect of every system:
// /proc, and the devices that are harmless (FHS 3.0, 6.1.3).
func (w *worker) lend() error {
	target := filepath.Join(w.root, targetPlace)
	for _, d := range []string{"proc", "dev"} {
		if err := os.Mkdir(filepath.Join(target, d), 0o755); err != nil {
			return err
		}
	}
	proc, dev := filepath.Join(target, "proc"), filepath.Join(target, "dev")
	if err := namespace.MountProc(proc); err != nil {
		return err
	}
	if err := confine.ProtectProc(proc); err != nil {
		return err
	}
	if err := unix.Mount("dev", dev, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755,size=1m"); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		at := filepath.Join(dev, name)
		if err := os.WriteFile(at, nil, 0o666); err != nil {
			return err
		}
		if err := bind("/dev/"+name, at); err != nil {
			return err
		}
	}
	for name, link := range map[string]string{"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"} {
		if err := os.Symlink("/proc/self/fd"+link, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	return confine.Restrict(dev, unix.MS_NODEV)
}

// variables is the environment that programs and scriptlets see. The latter have the PATH that
// rpm gives them.
func variables() []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "TZ=UTC", "PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1"}
}

// dnf runs the script and gives each thing that it says to hear.
func (w *worker) dnf(ctx context.Context, order any, hear func(said) error) error {
	text, err := json.Marshal(order)
	if err != nil {
		return err
	}
	words := &words{hear: hear}
	complaints := &output.Lines{}
	err = w.sb.Run(ctx, sandbox.Command{
		Root: w.root, Args: []string{"/usr/bin/python3", "/" + inPlace + "/" + scriptName}, Env: variables(),
		Stdin: bytes.NewReader(text), Stdout: words, Stderr: complaints,
	})
	if words.err != nil {
		return words.err
	}
	if err != nil {
		return fmt.Errorf("dnf: %w: %s", err, complaints.Tail())
	}
	return nil
}

// words takes JSON values, one a line.
type words struct {
	hear func(said) error
	part []byte
	err  error
}

// Write takes what the script writes. It never fails, so that the script does
// not end by that; the first error is kept.
func (w *words) Write(b []byte) (int, error) {
	w.part = append(w.part, b...)
	for {
		i := bytes.IndexByte(w.part, '\n')
		if i < 0 {
			return len(b), nil
		}
		var s said
		err := json.Unmarshal(w.part[:i], &s)
		w.part = w.part[i+1:]
		if err == nil {
			err = w.hear(s)
		}
		if w.err == nil {
			w.err = err
		}
	}
}

// resolve has dnf close the wishes.
func (w *worker) resolve(ctx context.Context) (list []found, err error) {
	o := map[string]any{"do": "resolve", "root": "/" + targetPlace, "repositories": w.Resolve.Repositories, "wishes": w.Resolve.Wishes}
	err = w.dnf(ctx, o, func(s said) error {
		switch {
		case s.Missing != "":
			return fmt.Errorf("package %s: no repository has it: correct the name or the version, or add a repository", s.Missing)
		case s.Conflict != "":
			return fmt.Errorf("the packages cannot be installed together: %s: ask for others, or add a repository", strings.TrimSpace(s.Conflict))
		}
		list = append(list, s.Packages...)
		return nil
	})
	if err == nil && len(list) == 0 {
		err = errors.New("dnf chose no package: ask for some that exist")
	}
	return list, err
}

// install checks the packages, has them installed, and seals the tree.
func (w *worker) install(ctx context.Context) (*layer.Outcome, error) {
	for _, g := range w.Install.Groups {
		if g.Key == "" || len(g.Files) == 0 {
			continue
		}
		if err := w.check(ctx, g); err != nil {
			return nil, err
		}
	}
	if err := w.lend(); err != nil {
		return nil, fmt.Errorf("lend the tree a system: %w", err)
	}
	var files []string
	for _, g := range w.Install.Groups {
		files = append(files, g.Files...)
	}
	slices.Sort(files)
	var epoch int64
	var installed []string
	printed := &output.Lines{Watch: w.watch, Stage: stage}
	err := w.dnf(ctx, map[string]any{"do": "install", "root": "/" + targetPlace, "files": files}, func(s said) error {
		switch {
		case s.Installing != "":
			w.watch.Tell(ore.Event{Stage: stage, Text: s.Installing, Done: s.Done, Total: s.Total})
		case s.Note != "":
			w.watch.Tell(ore.Event{Stage: "note", Text: s.Note, Final: true})
		case s.Output != "":
			fmt.Fprintln(printed, s.Output)
		case s.Epoch != 0:
			epoch = s.Epoch
		case s.Installed != nil:
			installed = s.Installed
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !slices.Equal(installed, w.Install.Expect) {
		return nil, fmt.Errorf("installed are %s, not %s: a scriptlet kept rpm from it; what they printed ends with:\n%s",
			strings.Join(installed, " "), strings.Join(w.Install.Expect, " "), printed.Tail())
	}
	w.watch.Tell(ore.Event{Stage: stage, Final: true})
	return w.seal(ctx, epoch)
}

// stage is what installing is called to who watches.
const stage = "rpm"

// check has rpmkeys check that the packages of g are signed with its key, header
// and payload (rpmkeys(8)). Its database holds that key alone.
func (w *worker) check(ctx context.Context, g group) error {
	db := "/var/tmp/" + g.Key
	run := func(args ...string) (string, error) {
		said := &output.Lines{}
		err := w.sb.Run(ctx, sandbox.Command{
			Root: w.root, Args: append([]string{"/usr/bin/rpmkeys", "--dbpath", db}, args...), Env: variables(), Stdout: said, Stderr: said,
		})
		return said.Tail(), err
	}
	if said, err := run("--import", "/"+inPlace+"/keys/"+g.Key); err != nil {
		return fmt.Errorf("key of a repository: %w: %s: name the file of its OpenPGP certificate, armored", err, said)
	}
	for part := range slices.Chunk(g.Files, atOnce) {
		args := []string{"--define", "_pkgverify_level all", "--checksig"}
		for _, f := range part {
			args = append(args, "/"+inPlace+"/packages/"+f)
		}
		said, err := run(args...)
		var failed *sandbox.ExitError
		if errors.As(err, &failed) {
			return fmt.Errorf("signatures: %s: not signed with the key of its repository: name the right key, or say 'unsigned: true' for that repository", bad(said))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// atOnce bounds the packages that one rpmkeys gets, for the sake of its arguments.
const atOnce = 500

// bad returns the lines in which rpmkeys says what is not as it should be.
func bad(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, " OK") {
			lines = append(lines, strings.TrimPrefix(line, "/"+inPlace+"/packages/"))
		}
	}
	return strings.Join(lines, ", ")
}
