package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"sync"

	"ore"
	"ore/netboot/link"
)

// Port is where clients ask (RFC 1350, section 4).
const Port = 69

const (
	// maxTransfers is how many run at once: a rack of machines that are switched
	// on together, each with a socket and the memory of one block.
	maxTransfers = 256
	// maxPerClient is how many of them one address may have. Firmware reads one
	// file after another; a second begins when it lost patience with the first.
	maxPerClient = 4
	// maxRequest is the longest request that is taken (RFC 2347: 512 octets).
	maxRequest = 512
	// ipHeaders is what IPv4 and UDP take of a frame.
	ipHeaders = 28
)

// File is an open file.
type File struct {
	io.ReaderAt
	Size  int64
	Close func() error // may be nil
}

// Config says what is served.
type Config struct {
	Link  link.Interface
	Port  uint16 // 0 means Port
	Watch ore.Watcher
	// Open opens the file that a client asks for by a name, which is any
	// string of up to 255 octets. An error that is fs.ErrNotExist is told to the
	// client as such. It may be called from several goroutines at once.
	Open func(ctx context.Context, name string) (File, error)
}

// Server serves files until it is closed.
type Server struct {
	config Config
	conn   *net.UDPConn
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu     sync.Mutex                  // guards what follows
	active map[netip.AddrPort]struct{} // clients' ends of transfers
}

// Start serves files until ctx ends or Close is called.
func Start(ctx context.Context, c Config) (*Server, error) {
	if c.Port == 0 {
		c.Port = Port
	}
	conn, err := c.Link.ListenUDP(ctx, c.Link.Addr(), c.Port)
	if err != nil {
		return nil, fmt.Errorf("serve TFTP: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Server{config: c, conn: conn, cancel: cancel, active: map[netip.AddrPort]struct{}{}}
	end := link.Until(ctx, conn)
	s.all.Go(func() {
		defer end()
		s.listen(ctx)
	})
	return s, nil
}

// Addr returns where the server listens.
func (s *Server) Addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Close ends all transfers and waits for their ends.
func (s *Server) Close() error {
	s.cancel()
	s.all.Wait()
	return nil
}

// listen starts a transfer for each request.
func (s *Server) listen(ctx context.Context) {
	b := make([]byte, maxRequest+1)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(b)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || !from.IsValid() || from.Port() == 0 {
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		r, err := parseRequest(b[:n])
		var no *refusal
		if errors.As(err, &no) {
			s.refuse(from, no)
			continue
		}
		if err == nil && s.begin(from) {
			s.all.Go(func() {
				defer s.end(from)
				s.serve(ctx, from, r)
			})
		}
	}
}

// begin makes room for a transfer. There is none for a request that was sent
// twice, since its first packet is repeated anyway, and beyond the limits;
// clients ask again.
func (s *Server) begin(from netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.active[from]; twice || len(s.active) >= maxTransfers {
		return false
	}
	same := 0
	for a := range s.active {
		if a.Addr() == from.Addr() {
			same++
		}
	}
	if same >= maxPerClient {
		return false
	}
	s.active[from] = struct{}{}
	return true
}

func (s *Server) end(from netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, from)
}

// refuse answers with an ERROR, from the port that was asked: no transfer has
// one of its own.
func (s *Server) refuse(to netip.AddrPort, r *refusal) {
	if _, err := s.conn.WriteToUDPAddrPort(errorPacket(r), to); err != nil {
		s.tell(to, fmt.Sprintf("%s: not told: %v", r.text, err))
	}
}

func (s *Server) tell(to netip.AddrPort, text string) {
	s.config.Watch.Tell(ore.Event{Stage: "tftp", Text: to.Addr().String() + ": " + text})
}

// serve sends one file.
func (s *Server) serve(ctx context.Context, to netip.AddrPort, r request) {
	ctx, cancel := context.WithTimeout(ctx, maxTransfer)
	defer cancel()
	f, err := s.config.Open(ctx, r.name)
	if err != nil {
		no := &refusal{codeUndefined, "cannot be read"}
		if errors.Is(err, fs.ErrNotExist) {
			no = &refusal{codeNotFound, "there is no such file"}
		}
		s.refuse(to, no)
		s.tell(to, fmt.Sprintf("%.80q: %v", r.name, err))
		return
	}
	if f.Close != nil {
		defer f.Close()
	}
	conn, err := s.config.Link.DialUDP(ctx, to)
	if err != nil {
		s.tell(to, err.Error())
		return
	}
	defer link.Until(ctx, conn)()
	o := s.limit(r.options)
	var oack []byte
	if o.any() {
		oack = o.oack(f.Size)
	}
	err = newTransfer(conn, f, o).run(ctx, oack)
	s.report(to, r.name, f.Size, err)
}

// report tells how a transfer ended. A client that asks for the size only and
// then says that it has enough (RFC 2349 as firmware uses it) is no fault.
func (s *Server) report(to netip.AddrPort, name string, size int64, err error) {
	var c *clientError
	switch {
	case err == nil:
		s.tell(to, fmt.Sprintf("%s: %d octets", name, size))
	case errors.As(err, &c) && (c.code == codeUndefined || c.code == codeOptions) || errors.Is(err, context.Canceled):
	default:
		s.tell(to, fmt.Sprintf("%.80q: %v", name, err))
	}
}

// limit gives a client at most what the interface and the server's own bounds
// allow.
func (s *Server) limit(o options) options {
	if mtu := s.config.Link.MTU; mtu > 0 {
		o.block = min(o.block, max(mtu-ipHeaders-headerLen, plainBlock))
	}
	o.block = min(o.block, maxBlock)
	o.window = min(o.window, maxWindow)
	return o
}

// Names returns an Open function for a fixed set of files, by name; a leading
// slash of what a client asks for does not count.
func Names(files map[string]func() (File, error)) func(context.Context, string) (File, error) {
	return func(_ context.Context, name string) (File, error) {
		open, ok := files[strings.TrimLeft(name, "/")]
		if !ok {
			return File{}, fs.ErrNotExist
		}
		return open()
	}
}
