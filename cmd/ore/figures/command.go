package figures

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ore/cluster/results"
	"ore/job"
	"ore/site"
	"ore/site/installing"
	"ore/testbed"
)

// Shell is what the commands are connected to.
type Shell struct {
	In       io.Reader
	Out, Err io.Writer
	Mirror   *string           // that of the flag; "" leaves it to the settings
	Usage    func(error) error // marks a fault in the words of the command line
	Open     func(ctx context.Context) (*site.Site, error)
}

// Command returns the command bench, with its subcommands.
func Command(sh *Shell) *cobra.Command {
	c := &cobra.Command{
		Use: "bench", Short: "Measure on this site what the system of 2006 showed", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newFigures(sh), newDepot(sh))
	return c
}

// settings are what the command line says.
type settings struct {
	Packages []string
	Machines []int `json:"-"` // these three may be others when a run is gone on with
	Rounds   int   `json:"-"`
	Arms     []arm `json:"-"`
	Memory   string
	Disk     string
	Link     int64   // bits a second; 0 is not bounded
	Slow     int64   // of the slow link
	Scale    float64 // times that the slow link is as fast
	Hosts    bool    // each machine is on a host of a test bed
	cores    int
}

// same says whether rows of two settings can be compared, but for those over the slow
// link, of which [settings.sameSlow] says it.
func (s settings) same(o settings) bool {
	return slices.Equal(s.Packages, o.Packages) && s.Memory == o.Memory && s.Disk == o.Disk && s.Link == o.Link && s.Hosts == o.Hosts
}

func (s settings) sameSlow(o settings) bool { return s.Slow == o.Slow && s.Scale == o.Scale }

// conditions says under which rows were measured, in lines.
func (s settings) conditions(h head) []string {
	where := "all machines on one host, links kept to their rate by its depot"
	if s.Hosts {
		where = "each machine on a host of a test bed"
	}
	slow := showRate(s.Slow)
	if s.Scale != 1 {
		slow = fmt.Sprintf("%s (scaled: %g times %s)", showRate(int64(float64(s.Slow)*s.Scale)), s.Scale, slow)
	}
	return []string{
		fmt.Sprintf("%s: %d packages of %.1f MB, tree of %.1f MB", strings.Join(s.Packages, " "), h.Work.Count, float64(h.Work.Packages)/1e6, float64(h.Work.Tree)/1e6),
		fmt.Sprintf("link %s, slow link %s", showRate(s.Link), slow),
		fmt.Sprintf("%s; %d cores for all", where, h.Cores),
	}
}

const figuresHelp = `Measure what figures 2, 4, 5 and 6 of the system of 2006 showed, on this site, and
draw them: machines that install themselves onto their disks from packages, from a
cached tree that each fetches for itself, from one that crosses the source's link
once, and from one behind a slow link; their stages as stacked bars.

By default all machines are on this host, and what they fetch crosses a link of the
rate of --link that ore makes in user space. With --hosts, as root, each is on a
host of its own of a test bed, whose links the kernel shapes. All share this
computer's cores, so a quiet one shows more.

What is measured is in the folder of -o as it comes: rows.jsonl and rows.csv,
figures.md with the old numbers beside, figure2.svg and so on. An interrupt ends it
at any time, with nothing left running; the same command then goes on.

A link of 500 kbit/s needs half an hour for each tree of 100 MB: --scale 16 has it
16 times as fast, which the figures say.`

func newFigures(sh *Shell) *cobra.Command {
	var s settings
	var out, link, slow, chosen string
	c := &cobra.Command{
		Use: "figures", Short: "Draw the old system's figures 2, 4, 5 and 6, measured here", Long: figuresHelp, Args: cobra.NoArgs,
		Example: "  ore bench figures --machines 1,2,4 --scale 16\n  ore bench figures -p hello --arms packages,direct --machines 1\n  sudo ore bench figures --hosts --link 100mbit",
	}
	f := c.Flags()
	f.StringVarP(&out, "output", "o", "ore-figures", "`folder` for rows and figures")
	f.StringSliceVarP(&s.Packages, "packages", "p", []string{"ncbi-blast+"}, "`packages` that the machines are to have")
	f.IntSliceVar(&s.Machines, "machines", []int{1, 2, 4, 8, 16}, "`numbers` of machines")
	f.IntVar(&s.Rounds, "rounds", 1, "how often each is measured: figures show medians")
	f.StringVar(&chosen, "arms", "packages,direct,chain,slow", "what is measured: some of these, for figures 2, 4, 5 and 6")
	f.StringVarP(&s.Memory, "memory", "m", "512M", "memory of a machine, as `size`")
	f.StringVar(&s.Disk, "disk", "2G", "disk of a machine, as `size`")
	f.StringVar(&link, "link", "100mbit", "`rate` of the source's link, and with --hosts of each host's; 0 for no bound")
	f.StringVar(&slow, "slow", "500kbit", "`rate` of the slow link")
	f.Float64Var(&s.Scale, "scale", 1, "times that the slow link is as fast, so that it ends today")
	f.BoolVar(&s.Hosts, "hosts", false, "one host for each machine, of a test bed (root)")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if s.Arms, err = chosenArms(chosen); err == nil {
			s.Link, err = parseRate("--link", link)
		}
		if err == nil {
			s.Slow, err = parseRate("--slow", slow)
		}
		if err = cmp.Or(err, s.check()); err != nil {
			return sh.Usage(err)
		}
		if out, err = filepath.Abs(out); err != nil {
			return err
		}
		s.cores = runtime.NumCPU()
		return sh.figures(c.Context(), s, out)
	}
	return c
}

// mostMachines bounds what one computer stands for, as a test bed does.
const mostMachines = testbed.MaxHosts

// mostRounds bounds what is asked for by mistake.
const mostRounds = 100

func (s *settings) check() error {
	slices.Sort(s.Machines)
	s.Machines = slices.Compact(s.Machines)
	switch {
	case len(s.Machines) == 0 || s.Machines[0] < 1 || s.Machines[len(s.Machines)-1] > mostMachines:
		return fmt.Errorf("--machines: use numbers from 1 to %d", mostMachines)
	case s.Rounds < 1 || s.Rounds > mostRounds:
		return fmt.Errorf("--rounds %d: use 1 to %d", s.Rounds, mostRounds)
	case s.Scale <= 0 || s.Slow == 0:
		return errors.New("the slow link needs a rate above 0, and so does --scale")
	case len(s.Packages) == 0:
		return errors.New("no packages: name some with -p")
	}
	for flag, size := range map[string]string{"memory": s.Memory, "disk": s.Disk} {
		if _, err := job.ParseSize(size); err != nil {
			return fmt.Errorf("--%s %s: %w", flag, size, err)
		}
	}
	return nil
}

// allowed says before anything is made what an ordinary user would be refused after it.
func (s *settings) allowed(uid int) error {
	if s.Hosts && uid != 0 {
		return errors.New("--hosts: a test bed's hosts are network namespaces, which only root may make: run it with sudo, or without --hosts")
	}
	return nil
}

// rates matches what links' rates are given as: tc's own words (tc(8)).
var rates = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([kmg]?)bit$`)

// parseRate returns a rate in bits a second.
func parseRate(flag, s string) (int64, error) {
	if s == "0" {
		return 0, nil
	}
	m := rates.FindStringSubmatch(strings.ToLower(s))
	if m == nil {
		return 0, fmt.Errorf("%s %q: use a rate such as 500kbit, 100mbit or 1gbit", flag, s)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	v *= map[string]float64{"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[m[2]]
	const least, most = 8e3, 1e12 // tc's token buckets go no lower, and no link higher
	if err != nil || v < least || v > most {
		return 0, fmt.Errorf("%s %q: use a rate from 8kbit to 1000gbit", flag, s)
	}
	return int64(v), nil
}

// showRate gives a rate as people do.
func showRate(bits int64) string {
	switch v := float64(bits); {
	case bits == 0:
		return "not bounded"
	case v >= 1e6:
		return fmt.Sprintf("%g Mbit/s", v/1e6)
	default:
		return fmt.Sprintf("%g kbit/s", v/1e3)
	}
}

// figures measures what is not there yet, and draws what is.
func (sh *Shell) figures(ctx context.Context, s settings, dir string) (err error) {
	if err := s.allowed(os.Geteuid()); err != nil {
		return err
	}
	sh.say("making the image and the installer, if they are not there")
	img, err := sh.prepare(ctx, s.Packages)
	if err != nil {
		return err
	}
	w := work{Tree: img.Size(), Count: len(img.Environment.Packages)}
	for _, p := range img.Environment.Packages {
		w.Packages += p.Size
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	b, err := openBook(dir, head{Settings: s, Work: w, Host: host, Cores: s.cores, Begun: time.Now().UTC()})
	if err != nil {
		return err
	}
	b.head.Settings.cores = s.cores
	defer func() { err = errors.Join(err, sh.present(b, dir)) }()
	lacking := b.lacking(s)
	sh.announce(s, b, lacking)
	if len(lacking) == 0 {
		return nil
	}
	l, err := sh.openLab(ctx, s, img)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	return sh.measureAll(ctx, s, b, l)
}

// due is a measurement that is to be made.
type due struct {
	arm      arm
	machines int
	round    int
}

// lacking lists what is not there yet: few machines first, and of these all arms, so
// that a run that ends early has something to compare.
func (b *book) lacking(s settings) []due {
	var all []due
	for round := range s.Rounds {
		for _, n := range s.Machines {
			for _, a := range s.Arms {
				if !b.has(a, n, round+1) {
					all = append(all, due{a, n, round + 1})
				}
			}
		}
	}
	return all
}

// left predicts how long all of that takes.
func (b *book) left(s settings, lacking []due) time.Duration {
	seconds := 0.0
	for _, d := range lacking {
		seconds += d.arm.predict(s, b.head.Work, d.machines, b.rows)
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second)
}

// announce says what will happen.
func (sh *Shell) announce(s settings, b *book, lacking []due) {
	sh.say("%s", strings.Join(s.conditions(b.head), "\n"))
	for _, a := range s.Arms {
		most := s.Machines[len(s.Machines)-1]
		sh.say("  figure %d, %s: %v machines; up to %.1f MB over the source's link at %s", a.figure, a.title, s.Machines, float64(a.bytes(b.head.Work, most))/1e6, showRate(a.rate(s)))
	}
	sh.say("%d of %d measurements are there; the others take about %v, and are predicted better as they come; rows go to %s", len(b.rows), len(b.rows)+len(lacking), b.left(s, lacking), b.path)
}

// measureAll makes all measurements that are due.
func (sh *Shell) measureAll(ctx context.Context, s settings, b *book, l *lab) error {
	for lacking := b.lacking(s); len(lacking) > 0; lacking = b.lacking(s) {
		d := lacking[0]
		sh.say("%s, %d machines, round %d: about %.0f s; all: %v", d.arm.title, d.machines, d.round, d.arm.predict(s, b.head.Work, d.machines, b.rows), b.left(s, lacking))
		r, err := l.measure(ctx, d.arm, d.machines)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%s, %d machines: %w", d.arm.title, d.machines, err)
		}
		r.Round = d.round
		sh.say("  ready after %.1f s; %.1f MB over the source's link", r.Whole, float64(r.Crossed)/1e6)
		if err := b.add(r); err != nil {
			return err
		}
	}
	return nil
}

// present writes tables and drawings of the rows that there are.
func (sh *Shell) present(b *book, dir string) error {
	if len(b.rows) == 0 {
		return nil
	}
	t := table(b.rows)
	lines, err := t.csv()
	if err != nil {
		return err
	}
	files := map[string][]byte{"rows.csv": lines, "figures.md": t.page(b.head)}
	for _, a := range arms() {
		if len(t.counts(a.name)) > 0 {
			files[a.file()] = draw(a, t, b.head)
		}
	}
	for name, text := range files {
		if err := results.WriteWhole(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	sh.say("figures and tables of %d rows are in %s", len(b.rows), dir)
	return nil
}

func (sh *Shell) say(format string, args ...any) { fmt.Fprintf(sh.Err, format+"\n", args...) }

// serving is what a depot says when it serves, and served when it has ended.
type (
	serving struct{ Address string }
	served  struct{ Crossed int64 }
)

// newDepot is the source's side of measurements, in a process of its own, since
// that may be on a host of a test bed.
func newDepot(sh *Shell) *cobra.Command {
	var network, address string
	var packages []string
	link := &installing.Link{}
	c := &cobra.Command{
		Use: "depot", Short: "Give machines what they install, until standard input ends", Hidden: true, Args: cobra.NoArgs,
	}
	f := c.Flags()
	f.StringVar(&network, "network", "unix", "")
	f.StringVar(&address, "listen", "", "")
	f.StringSliceVarP(&packages, "packages", "p", nil, "")
	f.Int64Var(&link.Rate, "rate", 0, "")
	f.BoolVar(&link.Once, "once", false, "")
	c.RunE = func(c *cobra.Command, _ []string) error {
		l, err := net.Listen(network, address)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(c.Context())
		go func() { // ends with the input, or with the process
			_, _ = io.Copy(io.Discard, sh.In)
			cancel()
		}()
		say := json.NewEncoder(sh.Out)
		if err := say.Encode(serving{l.Addr().String()}); err != nil {
			return errors.Join(err, l.Close())
		}
		if err := sh.serve(ctx, packages, l, link); err != nil {
			return err
		}
		return say.Encode(served{link.Crossed()})
	}
	return c
}
