package race

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ore"
	"ore/plan"
)

// options of a plan: to fetch, to build over an image, and to build from nothing.
func options(ways ...plan.Way) plan.Plan {
	var p plan.Plan
	for i, w := range ways {
		pull := plan.Estimate{Stage: plan.Seal, Known: true, Seconds: plan.Range{Low: 4, Middle: 5, High: 9}}
		if w == plan.Fetched {
			pull.Stage = plan.Pull
		}
		p.Options = append(p.Options, plan.Option{
			Way: w, Possible: w != plan.Delta, From: ore.Key(fmt.Sprintf("image%d", i)),
			Known: true, Stages: []plan.Estimate{pull}, Total: pull.Seconds,
		})
	}
	return p
}

// Each way is taken as the option that it is, also the second of two, and the one that
// a fetch is given up for, which is the best that builds.
func TestMake(t *testing.T) {
	bad := errors.New("bad")
	for _, c := range []struct {
		summary string
		plan    plan.Plan
		off     bool
		fails   []plan.Way
		want    []string // sorted: they may begin at once
		told    string
		err     bool
	}{
		{"it is built as chosen", options(plan.Partial, plan.Clean), true, nil, []string{"build partial image0"}, "", false},
		{"it is fetched", options(plan.Fetched, plan.Partial), true, nil, []string{"fetch fetched image0"}, "", false},
		{"what cannot be fetched is built by the next best", options(plan.Fetched, plan.Superset, plan.Delta, plan.Partial, plan.Clean), true,
			[]plan.Way{plan.Fetched}, []string{"build partial image3", "fetch fetched image0"}, "bad: it is built here", false},
		{"one with more is gone", options(plan.Superset, plan.Partial), true, nil, []string{"build partial image1"}, "", false},
		{"both begin, each as it is", options(plan.Fetched, plan.Partial), false, nil, []string{"build partial image1", "fetch fetched image0"}, "two ways at once", false},
		{"both begin, and the one that fetches fails", options(plan.Partial, plan.Fetched), false,
			[]plan.Way{plan.Fetched}, []string{"build partial image0", "fetch fetched image1"}, "two ways at once", false},
		{"nothing can be done", options(plan.Partial, plan.Clean), true, []plan.Way{plan.Partial}, []string{"build partial image0"}, "", true},
	} {
		t.Run(c.summary, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls, told := make(chan string, 9), ""
				do := func(what string) func(context.Context, plan.Option) (string, error) {
					return func(_ context.Context, o plan.Option) (string, error) {
						calls <- fmt.Sprintf("%s %s %s", what, o.Way, o.From)
						time.Sleep(time.Second)
						if slices.Contains(c.fails, o.Way) {
							return "", bad
						}
						return string(o.From), nil
					}
				}
				w := Ways[string]{Fetch: do("fetch"), Build: do("build"), Watch: func(e ore.Event) { told += e.Text }}
				rule := plan.DefaultHedge()
				rule.Off = c.off
				got, err := w.Make(t.Context(), c.plan, rule)
				close(calls)
				var called []string
				for s := range calls {
					called = append(called, s)
				}
				slices.Sort(called)
				if (err != nil) != c.err || err == nil && got == "" || !slices.Equal(called, c.want) || !strings.Contains(told, c.told) || c.told == "" && told != "" {
					t.Errorf("gave %q, %v by %q, told %q; want %q, told %q", got, err, called, told, c.want, c.told)
				}
			})
		})
	}
}
