// Package testbed is the command testbed: many hosts made out of this one, to try
// what takes many (package ore/testbed).
package testbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/user"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ore/cmd/ore/view"
	bed "ore/testbed"
	"ore/testbed/slurm"
)

// Shell is what commands share: where they write, and how errors are understood.
type Shell struct {
	Out   io.Writer
	JSON  *bool             // give results as JSON
	Usage func(error) error // marks a fault in the words of the command line
}

func (a *Shell) print(v any) error {
	e := json.NewEncoder(a.Out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (a *Shell) say(format string, args ...any) { fmt.Fprintf(a.Out, format+"\n", args...) }

// Command returns the command testbed with all its subcommands.
func Command(a *Shell) *cobra.Command {
	c := &cobra.Command{
		Use:   "testbed",
		Short: "Make many hosts out of this one, to try what takes many (root)",
		Long: `Make a bed of hosts out of this one: namespaces around a switch, with links of a
given rate. A host has its own processes, network and name, and shares this host's
files. Hosts are called head, h1, h2 ...; a crash ends all that runs on one, and
boot turns it on again; part pulls its cable, heal plugs it in.`,
		Example: `  ore testbed up -n 16 --link 100mbit
  ore testbed exec h3 -- ip addr
  ore testbed crash h3 && ore testbed boot h3
  ore testbed check
  ore testbed up --slurm && ore testbed exec -u "$USER" head -- srun -N4 hostname
  ore testbed down`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newUp(a), newList(a), newExec(a), newCheck(a), newDown(a))
	c.AddCommand(newTurns(a)...)
	return c
}

// rate matches what --link takes: tc's own words for rates (tc(8)).
var rate = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([kmg]?)bit$`)

// parseRate returns a rate in bits a second; tc's prefixes are powers of 1000.
func parseRate(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	m := rate.FindStringSubmatch(strings.ToLower(s))
	if m == nil {
		return 0, fmt.Errorf("--link %q: use a rate such as 500kbit, 100mbit or 1gbit", s)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	v *= map[string]float64{"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[m[2]]
	const least, most = 8e3, 1e12 // tc's token buckets go no lower, and no link higher
	if err != nil || v < least || v > most {
		return 0, fmt.Errorf("--link %q: use a rate from 8kbit to 1000gbit", s)
	}
	return int64(v), nil
}

// showRate gives a rate as --link takes it.
func showRate(bits float64) string {
	switch {
	case bits == 0:
		return "-"
	case bits >= 1e9:
		return strconv.FormatFloat(bits/1e9, 'g', 4, 64) + "gbit"
	case bits >= 1e6:
		return strconv.FormatFloat(bits/1e6, 'g', 4, 64) + "mbit"
	}
	return strconv.FormatFloat(bits/1e3, 'g', 4, 64) + "kbit"
}

func newUp(a *Shell) *cobra.Command {
	conf := bed.Config{Keep: true}
	var link string
	var withSlurm bool
	c := &cobra.Command{
		Use: "up [flags]", Short: "Make a bed, which stays until 'ore testbed down'", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if conf.Link, err = parseRate(link); err != nil {
				return a.Usage(err)
			}
			b, err := bed.Up(c.Context(), conf)
			if err != nil {
				return err
			}
			if withSlurm {
				if _, err := slurm.Start(c.Context(), b, slurm.Config{}); err != nil {
					return errors.Join(err, b.Down())
				}
			}
			i, err := b.Info()
			if err != nil {
				return err
			}
			if *a.JSON {
				return a.print(i)
			}
			a.say("%s: %d hosts and head, %s", i.Name, conf.Hosts, i.Subnet)
			return nil
		},
	}
	f := c.Flags()
	f.IntVarP(&conf.Hosts, "hosts", "n", 4, "`number` of hosts beside head")
	f.StringVar(&conf.Name, "name", "", "`name` of the bed; default: one that is free")
	f.StringVar(&link, "link", "", "`rate` of each host's link, each way, such as 100mbit; default: not shaped")
	f.DurationVar(&conf.Delay, "delay", 0, "`delay` of what a host sends, such as 5ms (needs the kernel's sch_netem)")
	f.StringArrayVar(&conf.Private, "private", nil, "`folder` of which each host has its own, empty at first; repeat")
	f.BoolVar(&withSlurm, "slurm", false, "run a Slurm cluster on the hosts, its controller on head")
	f.BoolVar(&conf.Join, "join", false, "give this host an address on the bed's network too")
	return c
}

// choice says which bed is meant.
type choice struct{ name string }

func (o *choice) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.name, "bed", "", "`name` of the bed; default: the only one there is")
}

// open returns the bed that is meant.
func (o *choice) open() (*bed.Bed, error) {
	if o.name != "" {
		return bed.Open(o.name)
	}
	all, err := bed.List()
	if err != nil {
		return nil, err
	}
	switch len(all) {
	case 0:
		return nil, errors.New("there is no bed: make one with 'ore testbed up'")
	case 1:
		return bed.Open(all[0].Name)
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return nil, fmt.Errorf("there are several beds: say which with --bed: %s", strings.Join(names, ", "))
}

func newList(a *Shell) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List beds and their hosts", Aliases: []string{"list"}, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			all, err := bed.List()
			if err != nil {
				return err
			}
			if *a.JSON {
				return a.print(all)
			}
			t := view.Rows(a.Out, "bed", "host", "address", "link", "delay", "state")
			for _, i := range all {
				if i.Own.IsValid() {
					t.AppendRow([]any{i.Name, "(this host)", i.Own, showRate(float64(i.Link)), time.Duration(0), "on"})
				}
				for _, h := range i.Hosts {
					t.AppendRow([]any{i.Name, h.Name, h.Address, showRate(float64(i.Link)), i.Delay, map[bool]string{true: "on", false: "off"}[h.Up]})
				}
			}
			t.Render()
			return nil
		},
	}
}

func newExec(a *Shell) *cobra.Command {
	var o choice
	var who string
	c := &cobra.Command{
		Use: "exec [flags] HOST -- command [argument...]", Short: "Run a command on a host", Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			b, err := o.open()
			if err != nil {
				return err
			}
			var u *user.User
			if who != "" {
				if u, err = user.Lookup(who); err != nil {
					return fmt.Errorf("--user: %w: make the account, or name another", err)
				}
			}
			command := args[1:]
			if command[0] == "--" { // flags end at the host's name, so this is still there
				command = command[1:]
			}
			if len(command) == 0 {
				return a.Usage(errors.New("exec: no command: give one after --"))
			}
			cmd := b.CommandAs(c.Context(), u, args[0], command...)
			if cmd.Err != nil {
				return cmd.Err
			}
			// The command stands in the place of this process, so that terminal,
			// signals and exit code are its own.
			return fmt.Errorf("run %s: %w", cmd.Path, syscall.Exec(cmd.Path, cmd.Args, cmd.Env))
		},
	}
	o.flags(c)
	c.Flags().StringVarP(&who, "user", "u", "", "`account` that runs the command; default: root")
	c.Flags().SetInterspersed(false)
	return c
}

// newTurns returns the commands that do one thing to some hosts.
func newTurns(a *Shell) []*cobra.Command {
	var out []*cobra.Command
	for _, k := range []struct {
		name, short string
		do          func(c *cobra.Command, b *bed.Bed, host string) error
	}{
		{"crash", "Turn hosts off: all that runs there ends at once", func(_ *cobra.Command, b *bed.Bed, h string) error { return b.Crash(h) }},
		{"boot", "Turn hosts on again", func(c *cobra.Command, b *bed.Bed, h string) error { return b.Boot(c.Context(), h) }},
		{"part", "Pull hosts' cables", func(c *cobra.Command, b *bed.Bed, h string) error { return b.Part(c.Context(), h) }},
		{"heal", "Plug hosts' cables in again", func(c *cobra.Command, b *bed.Bed, h string) error { return b.Heal(c.Context(), h) }},
	} {
		var o choice
		c := &cobra.Command{
			Use: k.name + " HOST...", Short: k.short, Args: cobra.MinimumNArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				b, err := o.open()
				if err != nil {
					return err
				}
				for _, h := range args {
					if err := k.do(c, b, h); err != nil {
						return err
					}
				}
				return nil
			},
		}
		o.flags(c)
		out = append(out, c)
	}
	return out
}

func newCheck(a *Shell) *cobra.Command {
	var o choice
	c := &cobra.Command{
		Use: "check", Short: "Measure what one TCP stream gets from head to h1 and back (iperf3)", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			b, err := o.open()
			if err != nil {
				return err
			}
			i, err := b.Info()
			if err != nil {
				return err
			}
			rates, err := b.Check(c.Context())
			if err != nil {
				return err
			}
			if *a.JSON {
				return a.print(rates)
			}
			t := view.Rows(a.Out, "from", "to", "link", "measured")
			for _, r := range rates {
				t.AppendRow([]any{r.From, r.To, showRate(float64(i.Link)), showRate(r.Bits)})
			}
			t.Render()
			return nil
		},
	}
	o.flags(c)
	return c
}

func newDown(a *Shell) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "down [BED...]", Short: "Remove beds and all that runs there", Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if all {
				there, err := bed.List()
				if err != nil {
					return err
				}
				for _, i := range there {
					args = append(args, i.Name)
				}
			} else if len(args) == 0 {
				b, err := (&choice{}).open()
				if err != nil {
					return err
				}
				args = []string{b.Name()}
			}
			for _, name := range args {
				b, err := bed.Open(name)
				if err != nil {
					return err
				}
				if err := b.Down(); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all beds")
	return c
}
