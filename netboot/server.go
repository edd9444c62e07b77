package netboot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ore"
	"ore/netboot/dhcp"
	"ore/netboot/link"
	"ore/netboot/relay"
	"ore/netboot/roster"
	"ore/netboot/solicit"
	"ore/netboot/tftp"
)

const (
	// defaultPort of HTTP, free by IANA's list and not one of ours.
	defaultPort = 8067
	// defaultHold is how long an unknown machine waits for an operator before it
	// boots from its disk: somebody's computer that merely tries the network
	// first is not held up for ever.
	defaultHold = 10 * time.Minute
	// maxCallers bounds what is remembered of clients of DHCP.
	maxCallers = 4096
	// minSweep keeps a clock that stands still from making the sweep spin.
	minSweep = 50 * time.Millisecond
	// headerTime is how long a client of HTTP may take to say what it wants.
	headerTime = 10 * time.Second
	// idleTime is how long a connection may say nothing between two requests.
	idleTime = time.Minute
	// maxHeader is more than iPXE and installers send.
	maxHeader = 16 << 10
	// answerTime is how long an answer may take: 1 GB at 1 MB/s. Who reads
	// nothing does not hold a connection for ever.
	answerTime = 20 * time.Minute
	// maxConnections bounds goroutines and descriptors: a rack of machines, some
	// connections each.
	maxConnections = 1024
	// maxPerAddress is how many one address may have: an installer's that loads
	// several files at once, and reports.
	maxPerAddress = 32
	// closeTime is how long running transfers are waited for at the end.
	closeTime = time.Second
)

// Loaders are the files of iPXE that firmware loads, by path. Debian's package
// ipxe has them as undionly.kpxe and ipxe.efi (or snponly.efi, which uses the
// firmware's driver of the card). An empty one leaves its machines unanswered.
type Loaders struct {
	BIOS string
	UEFI string // x86-64
}

// The names that firmware asks for the loaders by.
const (
	nameBIOS = "ipxe.kpxe"
	nameUEFI = "ipxe.efi"
)

// Config says whom a server boots, and with what.
type Config struct {
	Interface string     // its name; nothing is ever said on another one
	Dir       string     // for what must last; one server at a time uses it
	Range     dhcp.Range // the zero value: beside another DHCP server
	Router    netip.Addr
	DNS       []netip.Addr
	Lease     time.Duration // 0 means an hour
	Probe     time.Duration // how long another DHCP server's answer is waited for; see dhcp.Config
	Port      uint16        // of HTTP; 0 means 8067
	Loaders   Loaders
	Limits    roster.Limits
	Hold      time.Duration // how long an unknown machine waits; 0 means ten minutes
	// Blob opens a kernel or an initramfs, and vouches for its bytes. An error
	// that is fs.ErrNotExist is told as such.
	Blob func(context.Context, ore.Digest) (io.ReadSeekCloser, error)
	Rest http.Handler // answers what else installers ask for by HTTP, such as packages; nil: nobody
	// Ready, if not nil, is called when a machine has become a system, while it waits
	// for the answer to its last report; by several goroutines.
	Ready func(roster.Machine, roster.System)
	Watch ore.Watcher
}

// Server boots machines until it is closed.
type Server struct {
	config Config
	roster *roster.Roster
	base   string // URL of the HTTP side
	chain  *relay.Book
	cancel context.CancelFunc
	all    sync.WaitGroup
	closes []func() error // in the order of starting

	mu      sync.Mutex               // guards what follows
	callers map[link.MAC]dhcp.Client // what DHCP knows of who asks
}

// Start boots machines on an interface until ctx ends or Close is called.
func Start(ctx context.Context, c Config) (*Server, error) {
	s, err := start(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("boot machines on %s: %w", c.Interface, err)
	}
	return s, nil
}

func start(ctx context.Context, c Config) (_ *Server, err error) {
	if c.Port == 0 {
		c.Port = defaultPort
	}
	if c.Hold == 0 {
		c.Hold = defaultHold
	}
	if err := c.Loaders.check(); err != nil {
		return nil, err
	}
	at, err := link.Find(c.Interface)
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, callers: map[link.MAC]dhcp.Client{}}
	s.chain = s.book()
	ctx, s.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.roster, err = roster.Open(c.Dir, c.Limits); err != nil {
		return nil, err
	}
	unlock, err := occupy(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("%w: stop the other server, or give another folder", err)
	}
	s.closes = append(s.closes, unlock)
	for _, serve := range []func(context.Context, link.Interface) error{s.serveHTTP, s.serveTFTP, s.serveDHCP} {
		if err := serve(ctx, at); err != nil {
			return nil, err
		}
	}
	s.all.Go(func() { s.sweep(ctx) })
	return s, nil
}

// check says which loader cannot be read.
func (l Loaders) check() error {
	if l == (Loaders{}) {
		return errors.New("no loader is given: name iPXE's undionly.kpxe for BIOS, its ipxe.efi for UEFI, or both")
	}
	for _, path := range []string{l.BIOS, l.UEFI} {
		if path == "" {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("loader: %w: it is in Debian's package ipxe", err)
		}
		f.Close()
	}
	return nil
}

// Roster returns the machines.
func (s *Server) Roster() *roster.Roster { return s.roster }

// URL returns where the HTTP side is, without a slash at the end.
func (s *Server) URL() string { return s.base }

// Close ends everything and waits for it.
func (s *Server) Close() error {
	s.cancel()
	var err error
	for i := len(s.closes) - 1; i >= 0; i-- {
		err = errors.Join(err, s.closes[i]())
	}
	s.closes = nil
	s.chain.Close()
	s.all.Wait()
	return err
}

// book is which machines pass on what.
func (s *Server) book() *relay.Book {
	return &relay.Book{Open: s.config.Blob, Tell: s.tell, Installs: func(token string) (string, bool) {
		m, err := s.roster.Holder(token)
		return called(m), err == nil && m.State == roster.Installing
	}}
}

func (s *Server) tell(machine, text string) {
	s.config.Watch.Tell(ore.Event{Stage: "netboot", Machine: machine, Text: text})
}

// serveHTTP begins what iPXE and installers ask of.
func (s *Server) serveHTTP(ctx context.Context, at link.Interface) error {
	l, err := at.ListenTCP(ctx, s.config.Port)
	if err != nil {
		return err
	}
	s.base = "http://" + l.Addr().String()
	h := &http.Server{Handler: s.handler(), ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, WriteTimeout: answerTime, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	s.all.Go(func() {
		if err := h.Serve(link.Bound(l, maxConnections, maxPerAddress)); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			s.tell("", "HTTP ended: "+err.Error())
		}
	})
	s.closes = append(s.closes, func() error {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		if h.Shutdown(end) == nil {
			return nil
		}
		return h.Close() // who still transfers asks the next server for the rest
	})
	return nil
}

// loaders are the files that firmware may load, by name.
func (s *Server) loaders() map[string]string {
	m := map[string]string{}
	if s.config.Loaders.BIOS != "" {
		m[nameBIOS] = s.config.Loaders.BIOS
	}
	if s.config.Loaders.UEFI != "" {
		m[nameUEFI] = s.config.Loaders.UEFI
	}
	return m
}

func (s *Server) serveTFTP(ctx context.Context, at link.Interface) error {
	files := map[string]func() (tftp.File, error){}
	for name, path := range s.loaders() {
		files[name] = func() (tftp.File, error) { return openFile(path) }
	}
	t, err := tftp.Start(ctx, tftp.Config{Link: at, Open: tftp.Names(files), Watch: s.config.Watch})
	if err != nil {
		return err
	}
	s.closes = append(s.closes, t.Close)
	return nil
}

func openFile(path string) (tftp.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return tftp.File{}, err
	}
	i, err := f.Stat()
	if err != nil {
		f.Close()
		return tftp.File{}, err
	}
	return tftp.File{ReaderAt: f, Size: i.Size(), Close: f.Close}, nil
}

func (s *Server) serveDHCP(ctx context.Context, at link.Interface) error {
	c := s.config
	d, err := dhcp.Start(ctx, dhcp.Config{Link: at, Range: c.Range, Router: c.Router, DNS: c.DNS, Lease: c.Lease, Probe: c.Probe,
		Leases: filepath.Join(c.Dir, "leases.json"), Boot: s.boot, Name: s.name, Watch: c.Watch})
	if err != nil {
		return err
	}
	s.closes = append(s.closes, d.Close)
	if c.Range == (dhcp.Range{}) {
		return nil // what of IPv6 there is belongs to whoever runs this network
	}
	if q, err := solicit.Start(ctx, at); err != nil {
		s.tell("", err.Error()+": iPXE waits some seconds for nothing")
	} else {
		s.closes = append(s.closes, q.Close)
	}
	return nil
}

// boot says what a client of DHCP loads.
func (s *Server) boot(c dhcp.Client) string {
	first := s.remember(c)
	switch {
	case c.Loader:
		return s.base + "/boot/" + c.MAC.Path()
	case c.Arch != dhcp.BIOS && s.local(c.MAC):
		// Firmware that is given no file goes on with its next boot entry. Debian
		// 12's iPXE, told to end, does not give OVMF back its card.
		return ""
	case c.HTTP && c.Arch == dhcp.UEFIHTTP && s.config.Loaders.UEFI != "":
		return s.base + "/loader/" + nameUEFI
	case c.HTTP:
	case c.Arch == dhcp.BIOS && s.config.Loaders.BIOS != "":
		return nameBIOS
	case (c.Arch == dhcp.UEFI || c.Arch == dhcp.UEFIOld) && s.config.Loaders.UEFI != "":
		return nameUEFI
	}
	if first {
		s.tell(c.MAC.String(), fmt.Sprintf("asks for something to boot, and there is no loader for its firmware (%s)", c.Arch))
	}
	return ""
}

// local says whether a machine is to boot from its own disk.
func (s *Server) local(m link.MAC) bool {
	found, known, err := s.roster.Find(m)
	return err == nil && known && found.Next() == roster.Local
}

// remember keeps what the roster will want to know when iPXE asks, and says
// whether the client is a new one.
func (s *Server) remember(c dhcp.Client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.callers[c.MAC]
	if !known && len(s.callers) >= maxCallers {
		return false
	}
	s.callers[c.MAC] = c
	return !known
}

func (s *Server) name(m link.MAC) string {
	found, _, err := s.roster.Find(m)
	if err != nil {
		return ""
	}
	return found.Name
}
