// Package supervisor is the process that owns a job's machines: how it is
// started, what it does, and how its folder is removed when somebody dies.
//
// A supervisor is this program again, in namespaces of its own, and serves a
// [node.Node] at a socket in the job's folder. It holds the folder's lock. With
// it ends all that the job has. Beside it a janitor waits, who removes the
// folder if this process is killed.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ore/namespace"
	"ore/namespace/janitor"
	"ore/node"
	"ore/site/ledger"
)

// Command is the hidden subcommand that runs Serve.
const Command = "supervise"

// The descriptors that a supervisor is given.
const (
	listenerFD = 3
	lockFD     = 4
)

// Job names a job's supervisor.
type Job struct {
	ID     string
	Folder string // made by Start
	Images string // the store of layers
	Keep   bool   // the supervisor outlives this process, for machines that are kept
	Lazy   bool   // machines may read layers while they come; see package node/lazy
}

// LazyFolder is where machines find them, below the job's folder.
const LazyFolder = "lazy"

// Process is a node in a supervisor of this process's making.
type Process struct {
	*node.Client
	folder *ledger.Grip
	wait   func() error // returns when the supervisor has ended
	kill   func() error
	care   *janitor.Janitor // nil for a keeper, which has its own
	hand   io.WriteCloser   // a keeper's lifeline, until HandOver
	device *os.File
}

// Device serves the job's LazyFolder; nil if it was not asked for or is refused.
func (s *Process) Device() *os.File { return s.device }

// Release ends the machines and then the supervisor, and removes the job's
// folder. A supervisor that does not answer is killed, and all dies with it.
func (s *Process) Release(ctx context.Context) error {
	err := s.Client.Release(ctx)
	s.Client.Close()
	var unreachable *url.Error
	if errors.As(err, &unreachable) && ctx.Err() == nil {
		// A supervisor that died has ended all machines by that, and whoever
		// needed them has been told.
		err = s.kill()
	} else if err != nil {
		err = errors.Join(fmt.Errorf("release: %w", err), s.kill())
	}
	done := make(chan error, 1)
	go func() { done <- s.wait() }()
	select {
	case <-done:
	case <-ctx.Done():
		err = errors.Join(err, s.kill())
		<-done
	}
	return errors.Join(err, s.folder.Remove(), s.dismiss())
}

// HandOver lets machines that are kept live on when this process ends. Until
// then they die with it, however it ends: nobody knows of them yet.
func (s *Process) HandOver() error {
	if s.hand == nil {
		return nil
	}
	_, err := io.WriteString(s.hand, handedOver)
	if err = errors.Join(err, s.hand.Close()); err != nil {
		return fmt.Errorf("keep machines: %w: their supervisor has ended: start them again", err)
	}
	return nil
}

func (s *Process) dismiss() error {
	if s.care == nil {
		return nil
	}
	return s.care.Dismiss()
}

// ErrTaken is returned if a job of that ID runs already.
var ErrTaken = errors.New("a job of this name runs already: end it, or give another name")

// dyingTime is how long a supervisor that was killed may take to be gone: its
// kernel ends all machines and frees their memory first.
const dyingTime = 10 * time.Second

// Vacant returns ErrTaken if there are kept machines called id. If their
// supervisor was killed it waits until that has let go, and removes the rest.
func Vacant(ctx context.Context, b ledger.Book, id string) error {
	r, err := b.Bed(id)
	if err != nil || b.State(r) != ledger.Running {
		return nil // there is none
	}
	asking, cancel := context.WithTimeout(ctx, dyingTime)
	defer cancel()
	n := node.NewClient(Socket(b.Folder(id)))
	defer n.Close()
	if _, err := n.Machines(asking); err == nil {
		return ErrTaken
	}
	if err := b.Gone(asking, id); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: %w", ErrTaken, err)
	}
	_, err = b.Sweep()
	return err
}

// Start starts the process that owns the job's machines.
func Start(ctx context.Context, j Job) (*Process, error) {
	err := os.Mkdir(j.Folder, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("start supervisor of %s: %w", j.ID, ErrTaken)
	}
	if err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	sup, err := j.spawn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start supervisor: %w", err), os.RemoveAll(j.Folder))
	}
	return sup, nil
}

func (j Job) spawn(ctx context.Context) (*Process, error) {
	dir := j.Folder
	lock, err := ledger.Claim(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	listener, err := listen(dir)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	folder, err := ledger.Hold(dir)
	if err != nil {
		return nil, err
	}
	sup := &Process{Client: node.NewClient(Socket(dir)), folder: folder}
	args := []string{Command, j.Images, dir}
	if j.Keep {
		if err := ledger.MarkKept(dir); err != nil {
			return nil, err
		}
		return sup, keep(sup, args, []*os.File{listener, lock}, log)
	}
	if sup.care, err = janitor.Watch(janitor.Folder{Path: dir}); err != nil {
		return nil, err
	}
	o := options(args, j.ID, []*os.File{listener, lock}, log)
	if j.Lazy {
		o.Lazy = filepath.Join(dir, LazyFolder)
		if err := os.Mkdir(o.Lazy, 0o700); err != nil {
			return nil, errors.Join(err, sup.dismiss())
		}
	}
	p, err := start(context.WithoutCancel(ctx), o)
	if err != nil {
		return nil, errors.Join(err, sup.dismiss())
	}
	sup.wait, sup.kill, sup.device = p.Wait, p.Kill, p.Device()
	return sup, nil
}

// options puts the supervisor into namespaces of its own, as the user who starts
// it.
func options(args []string, job string, files []*os.File, log *os.File) namespace.Options {
	return namespace.Options{
		Kinds: namespace.PID | namespace.Mount, IDs: namespace.Keep,
		Args: args, Stdout: log, Stderr: log, Files: files, Mark: job,
	}
}

// start starts the supervisor. Where namespaces are refused it is found again by
// its mark.
func start(ctx context.Context, o namespace.Options) (*namespace.Process, error) {
	if os.Geteuid() != 0 {
		o.Kinds |= namespace.User
	}
	p, err := namespace.Start(ctx, o)
	if errors.Is(err, namespace.ErrRefused) {
		o.Kinds = 0
		return namespace.Start(ctx, o)
	}
	return p, err
}

// keep starts a keeper: a process in a session of its own that starts the
// supervisor and stays until it ends.
func keep(sup *Process, args []string, files []*os.File, log *os.File) error {
	cmd := exec.Command("/proc/self/exe", append([]string{args[0], "--keep"}, args[1:]...)...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	hand, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	sup.hand = hand
	sup.wait, sup.kill = cmd.Wait, cmd.Process.Kill
	return nil
}

// handedOver is what a keeper reads once its machines are kept for good.
const handedOver = "over\n"

// Keep is what a keeper does: it hands its descriptors on to a supervisor, and
// ends that if its standard input ends before the machines were handed over.
func Keep(ctx context.Context, images, dir string) error {
	// Whoever waits for the end waits for this process too: its kernel lets go of
	// the lock, after all that it does.
	if _, err := unix.FcntlInt(lockFD, unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return fmt.Errorf("keep the lock: %w", err)
	}
	files := []*os.File{os.NewFile(listenerFD, "listener"), os.NewFile(lockFD, "lock")}
	for _, f := range files {
		syscall.CloseOnExec(int(f.Fd())) // for the supervisor, not for the janitor
	}
	folder, err := ledger.Hold(dir)
	if err != nil {
		return err
	}
	care, err := janitor.Watch(janitor.Folder{Path: dir})
	if err != nil {
		return errors.Join(err, folder.Close())
	}
	p, err := start(ctx, options([]string{Command, images, dir}, filepath.Base(dir), files, os.Stderr))
	if err != nil {
		return errors.Join(err, folder.Remove(), care.Dismiss())
	}
	files[0].Close()
	go func() { // ends with the process at the latest
		if said, _ := io.ReadAll(os.Stdin); string(said) != handedOver {
			_ = p.Kill() // an error says that it has ended
		}
	}()
	return errors.Join(p.Wait(), care.Dismiss(), folder.Remove())
}

// Socket is the path of a supervisor's socket in the job's folder.
func Socket(dir string) string { return filepath.Join(dir, "node") }

// listen makes the supervisor's socket here, so that it can be used at once.
// A path too long for a socket's address is reached by way of a descriptor.
func listen(dir string) (*os.File, error) {
	l, err := net.Listen("unix", Socket(dir))
	if err != nil {
		return nil, fmt.Errorf("%w: set ORE_HOME to a folder with a shorter path", err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.New("not a Unix socket")
	}
	u.SetUnlinkOnClose(false)
	defer u.Close()
	return u.File()
}

// Serve is a supervisor's whole work: it serves the node of the job in dir
// until the node was released or ctx ends.
func Serve(ctx context.Context, images, dir string) error {
	n, err := newNode(images, dir)
	if err != nil {
		return err
	}
	f := os.NewFile(listenerFD, "listener")
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	f.Close()
	server := &http.Server{Handler: n.Handler(), ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case <-n.Released():
		// The answer to the release is still under way.
		stop, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = server.Shutdown(stop)
	case <-ctx.Done():
		err = n.Release()
		_ = server.Close()
	case err = <-served:
		err = errors.Join(err, n.Release())
	}
	return err
}
