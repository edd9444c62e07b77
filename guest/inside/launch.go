package inside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"ore/guest"
	"ore/guest/wire"
)

const (
	// maxLaunchRequest bounds what a launcher may send. It is a command line,
	// and goes as one datagram.
	maxLaunchRequest = 128 << 10
	// maxLaunches is how many launchers are served at once; each one needs
	// two streams of home.
	maxLaunches = wire.MaxStreams/2 - 1
	// launchBacklog is how many may wait to be served.
	launchBacklog = 128
)

// launchRequest is what a launcher sends with its three files.
type launchRequest struct {
	To    string
	User  string // "" for the one who asks
	Args  []string
	Input bool
}

// launchReply is the answer to it.
type launchReply struct {
	Code  int
	Error string
}

// launchVariable tells a launcher where ore-init listens; without it the
// launcher looks where machines have it.
const launchVariable = "ORE_LAUNCH"

// socketPath is where launchers find ore-init.
func (l Layout) socketPath() string { return filepath.Join(l.Run, "launch.sock") }

// listen serves launchers until the function that it returns is called.
func (s *server) listen(ctx context.Context) (func(), error) {
	path := s.layout.socketPath()
	if err := os.MkdirAll(s.layout.Run, 0o755); err != nil {
		return nil, err
	}
	os.Remove(path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("launchers' socket: %w", err)
	}
	l := os.NewFile(uintptr(fd), path)
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	if err == nil {
		err = os.Chmod(path, 0o666) // any user of the machine may launch
	}
	if err == nil {
		err = unix.Listen(fd, launchBacklog)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("launchers' socket: %w", err)
	}
	s.background.Go(func() { s.acceptLaunchers(ctx, l) })
	return func() { l.Close(); os.Remove(path) }, nil
}

func (s *server) acceptLaunchers(ctx context.Context, l *os.File) {
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	slots := make(chan struct{}, maxLaunches)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		fd := -1
		err := raw.Read(func(lfd uintptr) bool {
			var e error
			fd, _, e = unix.Accept4(int(lfd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return e != unix.EAGAIN
		})
		if err != nil {
			return // closed
		}
		if fd < 0 {
			<-slots
			continue
		}
		s.background.Go(func() {
			defer func() { <-slots }()
			s.serveLauncher(ctx, os.NewFile(uintptr(fd), "launcher"))
		})
	}
}

// serveLauncher does one launch and answers with its end.
func (s *server) serveLauncher(ctx context.Context, c *os.File) {
	defer c.Close()
	q, files, err := receiveLaunch(c)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	var reply launchReply
	if err == nil {
		var e wire.Exit
		e, err = s.launch(ctx, c, q, files)
		reply.Code = e.Code
	}
	if err != nil {
		reply.Error = err.Error()
	}
	if b, err := json.Marshal(reply); err == nil {
		c.Write(b)
	}
}

func (s *server) launch(ctx context.Context, c *os.File, q launchRequest, files []*os.File) (wire.Exit, error) {
	uid, err := peer(c)
	if err != nil {
		return wire.Exit{}, err
	}
	user, err := launchUser(q.User, uid)
	if err != nil {
		return wire.Exit{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		// The launcher says nothing more: this ends when it is gone, or when
		// its work is done.
		c.Read(make([]byte, 1))
		cancel()
	})
	std := wire.Streams{Stdout: files[1], Stderr: files[2]}
	if q.Input {
		std.Stdin = files[0]
	}
	e, err := s.session.Call(ctx, wire.Request{
		Op: wire.Launch, To: s.machineNamed(q.To), User: user, Args: q.Args, GraceMS: launchGraceMS,
	}, std)
	c.SetReadDeadline(past())
	watching.Wait()
	cancel()
	return e, err
}

// launchGraceMS is how long a remote process has between SIGTERM and SIGKILL
// when its launcher was killed: mpirun cleans up by killing its launchers.
const launchGraceMS = 1000

// machineNamed lets a machine be called by its address or its full name too.
func (s *server) machineNamed(name string) string {
	s.mu.Lock()
	hosts := s.identity.Hosts
	s.mu.Unlock()
	for _, h := range hosts {
		if h.IP == name {
			return h.Name
		}
	}
	short, domain, _ := strings.Cut(name, ".")
	if n := s.identity.Network; n != nil && domain != "" && domain == n.Search {
		return short
	}
	return name
}

// launchUser is who a launched command runs as, where uid asks for it. Only root
// becomes somebody else: machines of a job have the same users, and whoever is
// nobody on one of them is nobody on all.
func launchUser(asked string, uid uint32) (string, error) {
	own := strconv.FormatUint(uint64(uid), 10)
	if asked == "" || asked == own {
		return own, nil
	}
	if uid == 0 {
		return asked, nil
	}
	if who, err := lookup(asked); err == nil && who.uid == uid {
		return own, nil
	}
	return "", fmt.Errorf("launch as user %s: only root may name another user: leave the name out, or ask as root", asked)
}

// peer is the user on the other side of a local socket, by the kernel's word
// (SO_PEERCRED, unix(7)).
func peer(c *os.File) (uint32, error) {
	var uid uint32
	err := control(c, func(fd int) error {
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			uid = cred.Uid
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("launch: who asks: %w", err)
	}
	return uid, nil
}

// receiveLaunch reads the one message of a launcher: the request and its
// input, output and error output.
func receiveLaunch(c *os.File) (launchRequest, []*os.File, error) {
	var q launchRequest
	buf := make([]byte, maxLaunchRequest)
	oob := make([]byte, unix.CmsgSpace(3*4))
	n, oobn := 0, 0
	raw, err := c.SyscallConn()
	if err != nil {
		return q, nil, err
	}
	var inner error
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, inner = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
		return inner != unix.EAGAIN
	})
	if err = errors.Join(err, inner); err != nil {
		return q, nil, err
	}
	files, err := passedFiles(oob[:oobn])
	if err != nil {
		return q, files, err
	}
	if len(files) != 3 {
		return q, files, fmt.Errorf("launch: %d files came, not 3", len(files))
	}
	d := json.NewDecoder(bytes.NewReader(buf[:n]))
	if err := d.Decode(&q); err != nil && err != io.EOF {
		return q, files, fmt.Errorf("launch: %w", err)
	}
	return q, files, nil
}

func passedFiles(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for i, fd := range fds {
			if i == 0 { // so that its reader can be stopped
				unix.SetNonblock(fd, true)
			}
			files = append(files, os.NewFile(uintptr(fd), "launched"))
		}
	}
	return files, nil
}

// meetHosts takes hosts for all machines of the job from now on.
func (s *server) meetHosts(hosts []guest.Host) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identity.Hosts = hosts
	return errors.Join(s.writeHosts(), s.meet(hosts))
}

// writeHosts writes the lists of the job's machines: plain, and as the two
// families of MPI want them (mpirun(1) of Open MPI; Hydra's host file).
func (s *server) writeHosts() error {
	var plain, openmpi, mpich strings.Builder
	cpus := max(s.identity.CPUs, 1)
	for _, h := range s.identity.Hosts {
		fmt.Fprintf(&plain, "%s\n", h.Name)
		fmt.Fprintf(&openmpi, "%s slots=%d\n", h.Name, cpus)
		fmt.Fprintf(&mpich, "%s:%d\n", h.Name, cpus)
	}
	if err := os.MkdirAll(s.layout.Run, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"hosts": plain.String(), "hosts.openmpi": openmpi.String(), "hosts.mpich": mpich.String(),
	} {
		// Whole: an mpirun may be reading what is replaced.
		file := filepath.Join(s.layout.Run, name)
		if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
			return err
		}
		if err := os.Rename(file+".new", file); err != nil {
			return err
		}
	}
	return nil
}
