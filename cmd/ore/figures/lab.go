package figures

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ore"
	"ore/image"
	"ore/site/installing"
	"ore/testbed"
)

// lab is where measurements are made. Whatever it starts is this program again.
type lab struct {
	sh       *Shell
	settings settings
	tree     image.Manifest // what machines install
	program  string
	dir      string // for what measurements keep, removed at the end
	bed      *bed   // nil where all machines are on this host
}

// grace is how long a command may take to end after it was asked to: the end of a
// job's machines is bounded by less.
const grace = 45 * time.Second

// openLab gets all that is not to be measured out of the way: what machines are
// started with, the installer, the depot's packages.
func (sh *Shell) openLab(ctx context.Context, s settings, tree image.Manifest) (_ *lab, err error) {
	l := &lab{sh: sh, settings: s, tree: tree}
	if l.program, err = os.Executable(); err != nil {
		return nil, err
	}
	if l.dir, err = makeFolder(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if s.Hosts {
		if l.bed, err = l.openBed(ctx); err != nil {
			return nil, err
		}
	}
	sh.say("one machine first, which does not count: what machines are started with is then here")
	warm := l.settings
	l.settings.Link = 0
	_, err = l.measure(ctx, arms()[1], 1)
	l.settings = warm
	if err == nil && l.bed != nil {
		err = l.bed.setKitAside(ctx)
	}
	return l, err
}

// folderName begins the name of a lab's folder, before its process' number.
const folderName = "ore-figures-"

// makeFolder makes a lab's folder, and removes those of labs that were killed.
func makeFolder() (string, error) {
	old, err := filepath.Glob(filepath.Join(os.TempDir(), folderName+"*"))
	if err != nil {
		return "", err
	}
	for _, dir := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folderName), "-")
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			_ = os.RemoveAll(dir) // another user's stays
		}
	}
	return os.MkdirTemp("", fmt.Sprintf("%s%d-", folderName, os.Getpid()))
}

// close ends all and removes what was made.
func (l *lab) close() error {
	var err error
	if l.bed != nil {
		err = l.bed.bed.Down()
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// command makes a command of this program, which ends in order when ctx does.
func (l *lab) command(ctx context.Context, host string, args ...string) *exec.Cmd {
	var cmd *exec.Cmd
	if l.bed != nil && host != "" {
		cmd = l.bed.bed.Command(ctx, host, append([]string{l.program}, args...)...)
	} else {
		cmd = exec.CommandContext(ctx, l.program, args...)
	}
	cmd.Env = os.Environ()
	if m := *l.sh.Mirror; m != "" {
		cmd.Env = append(cmd.Env, "ORE_MIRROR="+m)
	}
	// A terminal's interrupt is for this process, which asks the others to end.
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	return cmd
}

// output runs a command and returns what it printed, or what it complained of. If
// this process is killed, the command is asked to end, by a signal that goes by the
// thread that started it (prctl(2), PR_SET_PDEATHSIG).
func output(cmd *exec.Cmd) ([]byte, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		const most = 2000
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(said.Bytes()[max(0, said.Len()-most):]))
	}
	return out.Bytes(), nil
}

// measure makes one measurement.
func (l *lab) measure(ctx context.Context, a arm, n int) (r row, err error) {
	r = row{Arm: a.name, Machines: n, At: time.Now().UTC()}
	if r.Load, err = load(); err != nil {
		return r, err
	}
	args := []string{"run", "-q", "-n", strconv.Itoa(n), "--root", "disk", "--disk", l.settings.Disk, "-m", l.settings.Memory,
		"--hypervisor", hypervisor, "--install-from", string(a.from), "-p", strings.Join(l.settings.Packages, ",")}
	if l.bed != nil {
		return r, l.bed.measure(ctx, a, &r, args)
	}
	d, err := l.startDepot(ctx, depotOf{host: "", network: "unix", address: filepath.Join(l.dir, "depot"), rate: a.rate(l.settings), once: a.once})
	if err != nil {
		return r, err
	}
	err = l.time(ctx, &r, append(args, "--"+installing.DepotFlag, "unix:"+d.address))
	crossed, ended := d.end()
	r.Crossed = crossed
	return r, errors.Join(err, ended)
}

// time runs the job and takes its timeline in.
func (l *lab) time(ctx context.Context, r *row, args []string) error {
	kept := filepath.Join(l.dir, "results")
	if err := os.RemoveAll(kept); err != nil {
		return err
	}
	begun := time.Now()
	if _, err := output(l.command(ctx, testbed.Head, append(args, "--results", kept, "--", "true")...)); err != nil {
		return err
	}
	r.Took = time.Since(begun).Seconds()
	files, err := filepath.Glob(filepath.Join(kept, "*", "result.json"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("%d results in %s, not one: %w", len(files), kept, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	var res ore.Result
	if err := json.Unmarshal(text, &res); err != nil {
		return err
	}
	return r.read(res.Timeline)
}

// load is this computer's, of the last minute (proc(5)).
func load() (float64, error) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(b), " ")
	return strconv.ParseFloat(first, 64)
}

// depotOf says what a depot is like.
type depotOf struct {
	host             string // of the bed
	network, address string
	rate             int64
	once             bool
}

// depot is a running one.
type depot struct {
	address string
	cmd     *exec.Cmd
	in      io.Closer
	out     *bufio.Reader
	said    *bytes.Buffer
}

// startDepot starts one and waits until it serves.
func (l *lab) startDepot(ctx context.Context, o depotOf) (*depot, error) {
	args := []string{"bench", "depot", "--network", o.network, "--listen", o.address, "-p", strings.Join(l.settings.Packages, ","), "--rate", strconv.FormatInt(o.rate, 10)}
	if o.once {
		args = append(args, "--once")
	}
	d := &depot{cmd: l.command(ctx, o.host, args...), said: &bytes.Buffer{}}
	d.cmd.Stderr = d.said
	in, err := d.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	d.in, d.out = in, bufio.NewReader(out)
	var s serving
	if err := d.hear(&s); err != nil {
		_, ended := d.end()
		return nil, errors.Join(err, ended)
	}
	d.address = s.Address
	return d, nil
}

// hear reads one line of what a depot says.
func (d *depot) hear(v any) error {
	line, err := d.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the depot ended: %w", err)
	}
	return json.Unmarshal(line, v)
}

// end has a depot end, and returns how many bytes crossed its link.
func (d *depot) end() (int64, error) {
	var s served
	err := errors.Join(d.in.Close(), d.hear(&s))
	if waited := d.cmd.Wait(); err != nil || waited != nil {
		return 0, fmt.Errorf("depot: %w: %s", errors.Join(err, waited), bytes.TrimSpace(d.said.Bytes()))
	}
	return s.Crossed, nil
}
