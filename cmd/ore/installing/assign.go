package installing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/netboot/link"
	"ore/netboot/roster"
	"ore/plan"
)

// assigning is what the flags of assign say.
type assigning struct {
	place
	file, name, firmware    string
	from, restart           string
	waiting, again, andWait bool
	capture                 bool
	timeout                 time.Duration
}

func newAssign(a *Shell) *cobra.Command {
	var s assigning
	c := &cobra.Command{
		Use: "assign {CARD|NAME}... -f FILE", Short: "Say what machines are to be: they install themselves when they ask next",
		Long: `Say that machines are to be what a job file describes: its environment, disks and
system. A machine is named by the address of its network card, also before it was
ever seen, or by the name that it was given. A machine that asks for something to
boot then gets the installer; one that is running has to be restarted.

A machine that is already what it should be is left alone, unless --again is given.
On disks with data of others nothing is written, unless the job file says wipe: true.`,
		Example: `  ore install assign 52:54:00:12:34:56 --name node1 -f node.yaml
  ore install assign --waiting -f node.yaml --wait
  ore install assign node1 --again -f node.yaml
  ore install assign node2 --install-from packages --restart firmware -f node.yaml`,
		Args: func(_ *cobra.Command, args []string) error { return s.check(args) },
		RunE: func(c *cobra.Command, args []string) error { return a.assign(c.Context(), s, args) },
	}
	c.ValidArgsFunction = s.completeMachines
	f := c.Flags()
	s.flags(c)
	f.StringVarP(&s.file, "file", "f", "", "job `file` that says what the machines are to be, - for standard input")
	f.StringVar(&s.name, "name", "", "the machine's host `name`; default: that which it has, else one made of its card's address")
	f.StringVar(&s.firmware, "firmware", "", "bios or uefi, for a machine that was never seen; default: what it was seen to boot with")
	f.StringVar(&s.from, "install-from", "", "what is installed: image, written as it is; disk, the image of a whole disk of the size that the job file has, or image on another; base, with the other packages; packages alone; or mirror: packages, which each fetches there for itself; default: what is predicted to be quickest, by what such machines took before")
	f.StringVar(&s.restart, "restart", "", "how the machine starts what it has installed: kexec, straight into it where it can, or firmware; default: what is quicker, by what such machines took before")
	f.BoolVar(&s.capture, "capture", true, "keep what is installed from base or packages as an image, if there is none: one of the machines sends it; =false: do not")
	f.BoolVar(&s.waiting, "waiting", false, "all machines that wait, as well")
	f.BoolVar(&s.again, "again", false, "install also what is installed already")
	f.BoolVar(&s.andWait, "wait", false, "wait until they are installed")
	f.DurationVar(&s.timeout, "timeout", 0, "wait no longer than this, such as 30m; default: for ever")
	for flag, words := range s.words() {
		c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	return c
}

// words are what flags that take one of some words take.
func (s *assigning) words() map[string][]string {
	return map[string][]string{
		"firmware":     {string(ore.BIOS), string(ore.UEFI)},
		"install-from": {plan.FromImage, plan.FromDisk, plan.FromBase, plan.FromPackages, plan.FromMirror},
		"restart":      {plan.ByKexec, plan.ByFirmware},
	}
}

// check refuses words that do not go together.
func (s *assigning) check(args []string) error {
	switch {
	case s.file == "":
		return errors.New("-f: name the job file that says what the machines are to be")
	case len(args) == 0 && !s.waiting:
		return errors.New("it needs machines: give addresses of cards, names, or --waiting")
	case s.name != "" && (len(args) != 1 || s.waiting):
		return errors.New("--name: is one machine's: give one machine")
	case s.timeout != 0 && !s.andWait:
		return errors.New("--timeout: is of --wait")
	}
	for flag, said := range map[string]string{"firmware": s.firmware, "install-from": s.from, "restart": s.restart} {
		if words := s.words()[flag]; said != "" && !slices.Contains(words, said) {
			return fmt.Errorf("--%s %q: use one of %s", flag, said, strings.Join(words, ", "))
		}
	}
	return nil
}

// assign gives each machine its order. What a machine is to be is made before
// anything is written, so that a job file with a fault assigns nothing.
func (a *Shell) assign(ctx context.Context, s assigning, args []string) error {
	j, err := a.Job(s.file)
	if err != nil {
		return err
	}
	r, dir, err := s.roster(roster.Open)
	if err != nil {
		return err
	}
	list, err := s.targets(r, args)
	if err != nil {
		return err
	}
	for _, m := range list {
		if err := r.Free(s.nameFor(m), m.MAC); err != nil {
			return fmt.Errorf("assign %s: %w", m.MAC, err)
		}
	}
	if err := s.order(ctx, a, j, r, list); err != nil {
		return err
	}
	if s.andWait {
		return a.wait(ctx, r, waiting{dir: dir, timeout: s.timeout}, list)
	}
	a.unserved(dir)
	if *a.JSON {
		return a.print(rows(list))
	}
	return nil
}

// order makes what each machine of the list is to be, and then puts all onto the
// roster; the list has them then as they are there.
func (s *assigning) order(ctx context.Context, a *Shell, j ore.Job, r *roster.Roster, list []roster.Machine) (err error) {
	dir, err := s.folder()
	if err != nil {
		return err
	}
	on, err := a.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, on.Close()) }()
	var orders []roster.Order
	for _, m := range list {
		w := Want{Job: j, Name: s.nameFor(m), MAC: m.MAC, Firmware: firmwareOf(m, s.firmware), From: s.from, Restart: s.restart, Discard: !s.capture}
		system, err := on.System(ctx, w)
		if err != nil {
			return fmt.Errorf("assign %s: %w", called(m), err)
		}
		orders = append(orders, roster.Order{MAC: m.MAC, Name: w.Name, System: system, Again: s.again})
	}
	for i, o := range orders {
		if list[i], err = r.Assign(o, time.Now()); err != nil {
			return err
		}
		if !*a.JSON {
			a.say("%s (%s) %s", o.Name, o.MAC, become(list[i]))
		}
	}
	return sweep(r, on)
}

// targets are the machines that are meant, each once.
func (s *assigning) targets(r *roster.Roster, words []string) ([]roster.Machine, error) {
	var list []roster.Machine
	add := func(m roster.Machine) {
		if !slices.ContainsFunc(list, func(o roster.Machine) bool { return o.MAC == m.MAC }) {
			list = append(list, m)
		}
	}
	for _, w := range words {
		m, _, err := find(r, w)
		if err != nil {
			return nil, err
		}
		add(m)
	}
	if s.waiting {
		all, err := r.All()
		if err != nil {
			return nil, err
		}
		for _, m := range all {
			if m.State == roster.Waiting {
				add(m)
			}
		}
		if len(list) == 0 {
			return nil, errors.New("assign --waiting: no machine waits: 'ore install ls' shows what there is")
		}
	}
	return list, nil
}

// nameFor is the host name that a machine gets.
func (s *assigning) nameFor(m roster.Machine) string {
	switch {
	case s.name != "":
		return s.name
	case m.Name != "":
		return m.Name
	}
	return defaultName(m.MAC)
}

// defaultName is a name that no two cards share.
func defaultName(m link.MAC) string { return "m-" + strings.ReplaceAll(m.String(), ":", "") }

// firmwareOf is what a machine boots with, as far as anybody knows.
func firmwareOf(m roster.Machine, said string) ore.Firmware {
	if said != "" {
		return ore.Firmware(said)
	}
	return ore.Firmware(strings.ToLower(m.Firmware))
}

// become says what an order came to.
func become(m roster.Machine) string {
	switch m.State {
	case roster.Installed:
		return "is that already: --again installs it once more"
	case roster.Installing, roster.Restarting:
		return "is becoming that already"
	}
	return "is assigned: it is installed when it boots from the network"
}
