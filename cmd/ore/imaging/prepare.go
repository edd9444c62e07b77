package imaging

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/site"
	"ore/site/ahead"
	"ore/site/recheck"
)

// defaultBudget is long enough for a dozen builds by delta, and short enough
// for a timer that calls every quarter of an hour.
const defaultBudget = 2 * time.Minute

func newPrepare(a *Shell) *cobra.Command {
	budget, busy := defaultBudget, false
	c := &cobra.Command{
		Use: "prepare", Short: "Make images before they are asked for", Args: cobra.NoArgs,
		Long: `Look at what was asked for before and is likely to be asked for within the next
hour, and make those images anew whose packages have newer versions since, or that
are not kept any more. Then build from nothing what had been built from another image, and compare. It
stops when --budget is spent or the host is wanted for something else. Call it
now and then, from cron(8) or a systemd timer; or have jobs start it when they
have ended, by the setting prepare. It ends by saying what has been gained so far.`,
		Example: "  */15 * * * *  ore images prepare --quiet --budget 3m",
		RunE: a.withSite(func(ctx context.Context, s *site.Site, _ []string) error {
			v := a.View()
			m, again := s.Ahead(v.Watch), s.Rechecker(v.Watch)
			if busy {
				m.Idle = func() bool { return true }
				again.Idle = m.Idle
			}
			begun := time.Now()
			_, err := s.Fold(ctx)
			var r report
			if err == nil {
				r.Report, err = m.Prepare(ctx, budget)
			}
			if err == nil {
				r.Compared, err = again.All(ctx, budget-time.Since(begun))
			}
			v.Close()
			if err != nil {
				return err
			}
			return a.tellPrepared(ctx, s, r)
		}),
	}
	c.Flags().DurationVar(&budget, "budget", defaultBudget, "the longest `time` to take")
	c.Flags().BoolVar(&busy, "even-if-busy", false, "go on when the host has other work")
	return c
}

func newRefresh(a *Shell) *cobra.Command {
	mark := false
	c := &cobra.Command{
		Use: "refresh [KEY...]", Short: "Make images anew whose packages have newer versions",
		Long: `Resolve again what the images were asked for with, and where packages have newer
versions make a new image by a delta, which then serves that request from one
moment to the next. Without keys, all images that are marked as outdated are
made anew. With --mark, all images are only looked at and marked.`,
		RunE: a.withSite(func(ctx context.Context, s *site.Site, args []string) error {
			v := a.View()
			m := s.Ahead(v.Watch)
			n, r, err := refresh(ctx, s, m, args, mark)
			v.Close()
			switch {
			case err != nil:
				return err
			case mark:
				a.say("%d images have packages with newer versions", n)
				return nil
			}
			return a.tellPrepared(ctx, s, report{Report: r})
		}),
	}
	c.Flags().BoolVar(&mark, "mark", false, "only mark them, for 'ore images ls'")
	return c
}

// report is what came of a call.
type report struct {
	ahead.Report
	Compared []recheck.Outcome `json:",omitempty"` // images that had been built from others, with the same from nothing
}

// refresh marks all images and makes those anew that args name.
func refresh(ctx context.Context, s *site.Site, m *ahead.Maker, args []string, markOnly bool) (marked int, r ahead.Report, err error) {
	if marked, err = m.Mark(ctx); err != nil || markOnly {
		return marked, r, err
	}
	keys, err := chosen(ctx, s, args)
	if err != nil {
		return marked, r, err
	}
	all, err := s.Cache.List(ctx)
	if err != nil {
		return marked, r, err
	}
	r, err = m.Refresh(ctx, keys)
	if len(args) == 0 {
		r.Current += max(0, len(all)-marked) // those that nobody had to look at again
	}
	return marked, r, err
}

// chosen returns the keys that args begin, or of all outdated images.
func chosen(ctx context.Context, s *site.Site, args []string) ([]ore.Key, error) {
	var keys []ore.Key
	for _, arg := range args {
		e, err := s.Cache.Match(ctx, arg)
		if err != nil {
			return nil, err
		}
		keys = append(keys, e.Key)
	}
	if len(args) > 0 {
		return keys, nil
	}
	all, err := s.Cache.List(ctx)
	for _, e := range all {
		if len(e.Outdated) > 0 {
			keys = append(keys, e.Key)
		}
	}
	return keys, err
}

// tellPrepared says what was made, and what earlier calls have gained.
func (a *Shell) tellPrepared(ctx context.Context, s *site.Site, r report) error {
	if err := s.Prepared().Keep(r.Prepared); err != nil {
		return err
	}
	gain, err := gained(ctx, s)
	if err != nil {
		return err
	}
	if *a.JSON {
		return a.print(struct {
			report
			Gain ahead.Saving
		}{r, gain})
	}
	for _, p := range r.Prepared {
		if p.Old == "" {
			a.say("%s serves %s, whose image was gone (%.1f s)", p.Key.Short(), strings.Join(p.Wanted, " "), p.Took.Seconds())
			continue
		}
		names := make([]string, len(p.Newer))
		for i, n := range p.Newer {
			names[i] = fmt.Sprintf("%s %s -> %s", n.Name, n.Version, n.Newer)
		}
		a.say("%s serves %s now instead of %s: %s (%.1f s)", p.Key.Short(), strings.Join(p.Wanted, " "), p.Old.Short(), strings.Join(names, ", "), p.Took.Seconds())
	}
	for _, why := range r.Skipped {
		a.say("left as it is: %s", why)
	}
	for _, o := range r.Compared {
		a.say("%s", o)
	}
	a.say("%d made anew, %d up to date", len(r.Prepared), r.Current)
	if r.Stopped != "" {
		a.say("stopped: %s", r.Stopped)
	}
	tellGain(a.Out, gain)
	return nil
}

// gained returns what preparing has gained so far.
func gained(ctx context.Context, s *site.Site) (ahead.Saving, error) {
	all, err := s.Prepared().Prepared()
	if err != nil {
		return ahead.Saving{}, err
	}
	requests, err := s.Cache.Requests(ctx)
	return ahead.Gain(all, requests), err
}

func tellGain(w io.Writer, g ahead.Saving) {
	fmt.Fprintf(w, "so far %d images were prepared in %.1f s; %d of them met %d requests, which would have waited %.1f s\n",
		g.Images, g.Spent.Seconds(), g.Used, g.Requests, g.Waited.Seconds())
}
