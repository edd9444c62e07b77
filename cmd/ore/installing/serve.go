package installing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/cmd/ore/view"
	"ore/netboot"
	"ore/netboot/dhcp"
	"ore/netboot/roster"
)

// serving is what the flags of serve say.
type serving struct {
	place
	network, addresses, router string
	dns                        []string
	proxy                      bool
	lease, hold, silence       time.Duration
	attempts                   int
	port                       uint16
}

func (s *serving) flags(c *cobra.Command) {
	f := c.Flags()
	s.place.flags(c)
	f.StringVar(&s.network, "interface", "", "network `interface` that machines are on; nothing is said on another one")
	f.StringVar(&s.addresses, "range", "", "give machines addresses `FIRST-LAST`; nobody else may do so in this network")
	f.BoolVar(&s.proxy, "proxy-dhcp", false, "give no addresses: another DHCP server does; this is so without --range")
	f.StringVar(&s.router, "router", "", "`address` of the router that machines are told of, with --range")
	f.StringSliceVar(&s.dns, "dns", nil, "`address` of a name server that machines are told of, with --range; repeat")
	f.DurationVar(&s.lease, "lease", time.Hour, "how long an address is a machine's, with --range")
	f.DurationVar(&s.hold, "hold", 10*time.Minute, "how long an unknown machine waits before it boots from its own disk")
	f.DurationVar(&s.silence, "silence", 15*time.Minute, "a machine that says nothing for so long while it installs has failed")
	f.IntVar(&s.attempts, "attempts", 3, "how often a machine's installer may begin before it has failed")
	f.Uint16Var(&s.port, "port", 8067, "TCP port of HTTP")
}

// config turns the flags into a server's configuration.
func (s *serving) config() (netboot.Config, error) {
	c := netboot.Config{Interface: s.network, Lease: s.lease, Hold: s.hold, Port: s.port, Limits: roster.Limits{Silence: s.silence, Attempts: s.attempts}}
	switch {
	case s.network == "":
		return c, errors.New("--interface: say on which network machines are: one of ip link's names")
	case s.addresses != "" && s.proxy:
		return c, errors.New("--range and --proxy-dhcp: one gives addresses, the other leaves that to somebody else: use one of them")
	case s.addresses == "" && (s.router != "" || len(s.dns) > 0):
		return c, errors.New("--router, --dns: without --range nobody is told of them: give --range, or leave them out")
	case s.lease < time.Minute || s.hold <= 0 || s.silence < time.Minute || s.attempts < 1 || s.port == 0:
		return c, errors.New("--lease and --silence are a minute at least, --hold more than nothing, --attempts and --port 1 at least")
	}
	var err error
	if s.addresses != "" {
		if c.Range, err = dhcp.ParseRange(s.addresses); err != nil {
			return c, fmt.Errorf("--range: %w", err)
		}
	}
	if s.router != "" {
		if c.Router, err = netip.ParseAddr(s.router); err != nil {
			return c, fmt.Errorf("--router %q: not an address", s.router)
		}
	}
	for _, d := range s.dns {
		a, err := netip.ParseAddr(d)
		if err != nil {
			return c, fmt.Errorf("--dns %q: not an address", d)
		}
		c.DNS = append(c.DNS, a)
	}
	return c, nil
}

func newServe(a *Shell) *cobra.Command {
	var s serving
	c := &cobra.Command{
		Use: "serve --interface NAME [--range FIRST-LAST]", Short: "Answer machines that boot from the network, until interrupted",
		Long: `Answer machines that boot from the network: DHCP, TFTP and HTTP, for BIOS and UEFI
firmware (not with Secure Boot), on one interface.

With --range this is the network's DHCP server; it does not start beside another
one. Without it, the file to boot is added to the answers of the DHCP server that
there is.

Booting from the network knows no secrets: whoever is in the same network can ask in
the place of a machine that is assigned, and gets what it is told. Use a network (a
VLAN) that only these machines are in, and assign them when they are seen to wait.

Machines that install themselves at the same time pass on to one another what they
get, so that it leaves this host about once: let them reach each other's TCP ports.

It needs the ports 67, 69 and 4011: be root, or give the program the right with
setcap cap_net_bind_service,cap_net_raw+ep.`,
		Example: `  ore install serve --interface eth1 --range 10.0.0.50-10.0.0.99 --router 10.0.0.1
  ore install serve --interface eth0`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := s.config()
			if err != nil {
				return a.Usage(err)
			}
			if conf.Dir, err = s.folder(); err != nil {
				return err
			}
			return a.serve(c.Context(), conf)
		},
	}
	s.flags(c)
	return c
}

// serve answers until ctx ends, which is how it is to end.
func (a *Shell) serve(ctx context.Context, c netboot.Config) (err error) {
	s, err := a.Open(ctx, c.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	t := &teller{shell: a}
	if c.Rest, err = s.Rest(t.tell); err != nil {
		return err
	}
	if c.Loaders, err = s.Loaders(ctx); err != nil {
		return err
	}
	c.Blob, c.Watch = s.Blob, t.tell
	if s.Learn != nil {
		c.Ready = func(m roster.Machine, y roster.System) {
			if err := s.Learn(m, y); err != nil { // the machine is none the worse for it
				t.tell(ore.Event{Stage: "netboot", Text: err.Error()})
			}
		}
	}
	server, err := netboot.Start(ctx, c)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: be root, or give the program the right with setcap cap_net_bind_service,cap_net_raw+ep", err)
	}
	if err != nil {
		return err
	}
	t.begin(server.URL(), c)
	if err := sweep(server.Roster(), s); err != nil {
		t.tell(ore.Event{Stage: "netboot", Text: err.Error()}) // no machine waits for that
	}
	<-ctx.Done()
	return server.Close()
}

// teller writes what a server tells of: lines for people, or JSON lines.
type teller struct {
	shell *Shell
	mu    sync.Mutex // guards the shell's writers
}

// told is an event as --json gives it, a line each.
type told struct {
	At      time.Time `json:"at"`
	Stage   string    `json:"stage"`
	Machine string    `json:"machine,omitempty"`
	Text    string    `json:"text,omitempty"`
	Done    int64     `json:"done,omitempty"`
	Total   int64     `json:"total,omitempty"`
	Final   bool      `json:"final,omitempty"`
}

func (t *teller) begin(url string, c netboot.Config) {
	how := "another server gives addresses"
	if c.Range != (dhcp.Range{}) {
		how = fmt.Sprintf("gives addresses %s-%s", c.Range.First, c.Range.Last)
	}
	text := fmt.Sprintf("boots machines on %s, %s, HTTP at %s", c.Interface, how, url)
	t.mu.Lock()
	defer t.mu.Unlock()
	if *t.shell.JSON {
		t.line(told{At: time.Now(), Stage: "netboot", Text: text})
		return
	}
	t.shell.say("%s", text)
}

func (t *teller) line(v told) {
	// A reader that is gone is no reason to leave machines alone.
	_ = json.NewEncoder(t.shell.Out).Encode(v)
}

func (t *teller) tell(e ore.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case *t.shell.JSON:
		t.line(told{At: time.Now(), Stage: e.Stage, Machine: e.Machine, Text: e.Text, Done: e.Done, Total: e.Total, Final: e.Final})
	case *t.shell.Quiet || e.Total > 0 && !e.Final:
	default:
		fmt.Fprintf(t.shell.Err, "%s %s\n", time.Now().Format(time.TimeOnly), sentence(e))
	}
}

// sentence is an event for people.
func sentence(e ore.Event) string {
	var s string
	if e.Machine != "" {
		s = e.Machine + ": "
	}
	if e.Stage != "netboot" && e.Stage != "dhcp" && e.Stage != "tftp" {
		s += e.Stage
		switch {
		case e.Final && e.Text == "":
			s += ", done"
		case e.Text != "":
			s += ": "
		}
	}
	s += e.Text
	if e.Total > 0 {
		s += fmt.Sprintf(" (%s of %s)", view.Bytes(e.Done), view.Bytes(e.Total))
	}
	return s
}
