// Package ahead prepares images before they are asked for: those that the
// history of requests makes likely, and those whose packages have newer versions
// since.
//
// [Maker.Prepare] looks at the wishes that package cache's forecast expects within
// the next hour. A wish whose image is up to date costs nothing. One whose image
// is outdated is resolved anew and built, mostly as a small delta, and then serves
// the wish from one moment to the next ([cache.Cache.Replace]); jobs that have the
// old image go on with it. One whose image is gone, by pruning or for room, has it made
// again. It works within a budget, one image after the other,
// and stops as soon as the host is wanted for something else. [Maker.Refresh] does
// the same for images that somebody names.
//
// A wish is found again by what its image was locked from: base, names, steps; the
// [Book] remembers them for images that are gone. An image with files or further repositories is marked as outdated but not
// refreshed, since what the files were made from is not known here.
//
// What was prepared is kept in the file prepared.jsonl of the state folder, a line
// for each, and [Gain] compares it with the requests that followed.
package ahead

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ore"
	"ore/cache"
	"ore/cache/forecast"
	"ore/image"
)

// most is how many wishes are looked at: in an hour more are hardly asked for by
// those who share a host, and the least likely come last.
const most = 64

// least is the probability below which a wish is not worth a build.
const least = 0.1

// Maker prepares images. All fields are needed but Watch.
type Maker struct {
	Cache   *cache.Cache
	Resolve func(context.Context, ore.Wants) (ore.Environment, error)
	Build   func(context.Context, ore.Wants, ore.Watcher) (image.Manifest, error)
	Idle    func() bool // whether the host has nothing better to do
	Book    Book        // remembers wishes whose images are gone
	Watch   ore.Watcher
}

// Prepared is an image that was made ahead of need.
type Prepared struct {
	At          time.Time
	Old, Key    ore.Key // Old is "" if there was no image any more
	Wanted      []string
	Probability float64 `json:",omitempty"` // that it is asked for within the hour; 0 when it was named
	Newer       []cache.Outdated
	Took        time.Duration
}

// Report is what came of a call.
type Report struct {
	Prepared []Prepared
	Current  int      // images that needed nothing
	Skipped  []string // why others were left as they are
	Stopped  string   // why the call ended before all was done, "" if it was not
}

// Prepare makes what is likely to be asked for, for at most budget.
func (m *Maker) Prepare(ctx context.Context, budget time.Duration) (Report, error) {
	begun := time.Now()
	expected, err := m.Cache.Likely(ctx, begun, most)
	if err != nil {
		return Report{}, err
	}
	var r Report
	for _, e := range expected {
		if e.Probability < least {
			break
		}
		switch {
		case time.Since(begun) >= budget:
			r.Stopped = fmt.Sprintf("the budget of %v is spent", budget)
			return r, nil
		case !m.Idle():
			r.Stopped = "the host is busy"
			return r, nil
		}
		within, cancel := context.WithDeadline(ctx, begun.Add(budget))
		err = m.provide(within, e, &r)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			r.Stopped = fmt.Sprintf("the budget of %v is spent", budget)
			return r, nil
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// provide sees that the image of a wish is there and up to date.
func (m *Maker) provide(ctx context.Context, e forecast.Prediction, r *Report) error {
	img, err := m.Cache.Serving(ctx, e.Wish)
	if err == nil {
		return m.renew(ctx, img, e.Probability, r)
	}
	if !image.Unusable(err) {
		return err
	}
	wants, known := m.Book.Recall(e.Wish)
	called := fmt.Sprintf("%s, asked for %d times", named(wants), e.Seen)
	switch {
	case !known:
		r.Skipped = append(r.Skipped, fmt.Sprintf("wish %.12s, asked for %d times: its image is gone, and what it was made from is not known here", e.Wish, e.Seen))
		return nil
	case !errors.Is(err, image.ErrMissing):
		r.Skipped = append(r.Skipped, fmt.Sprintf("%s: %v", called, err))
		return nil
	}
	called += ": its image is gone"
	if _, err := m.Resolve(ctx, wants); err != nil {
		return r.skip(ctx, called, err)
	}
	m.Watch.Tell(ore.Event{Stage: "prepare", Text: called})
	begun := time.Now()
	made, err := m.Build(ctx, wants, m.Watch)
	if err != nil {
		return r.skip(ctx, called, err)
	}
	r.Prepared = append(r.Prepared, Prepared{
		At: time.Now(), Key: made.Key, Wanted: made.Environment.Manual, Probability: e.Probability, Took: time.Since(begun),
	})
	return nil
}

// skip notes that err kept one image from being made, so that the others are. An end
// of ctx and a lack of space are no matter of one image: they are returned.
func (r *Report) skip(ctx context.Context, called string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, cache.ErrNoSpace) {
		return err
	}
	r.Skipped = append(r.Skipped, fmt.Sprintf("%s: %v", called, err))
	return nil
}

// named says what is wanted, for people.
func named(w ore.Wants) string {
	text := w.Base.String()
	for _, p := range w.Packages {
		text += " " + p.Name
	}
	return text
}

// Refresh makes the images of keys anew where packages have newer versions. What
// cannot be made is skipped.
func (m *Maker) Refresh(ctx context.Context, keys []ore.Key) (Report, error) {
	var r Report
	for _, k := range keys {
		img, err := m.Cache.Find(ctx, k)
		if err != nil {
			return r, err
		}
		if err := m.renew(ctx, img, 0, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// renew resolves an image's wish again, builds what differs and switches.
func (m *Maker) renew(ctx context.Context, img image.Manifest, probability float64, r *Report) error {
	old := img.Environment
	wanted := strings.Join(old.Manual, " ")
	wants, why := wish(old)
	if why != "" {
		r.Skipped = append(r.Skipped, fmt.Sprintf("%s (%s): %s", img.Key.Short(), wanted, why))
		return nil
	}
	called := fmt.Sprintf("%s (%s)", img.Key.Short(), wanted)
	env, err := m.Resolve(ctx, wants)
	if err != nil {
		return r.skip(ctx, called, err)
	}
	if env.Key() == img.Key {
		r.Current++
		return nil
	}
	newer := Newer(old, env)
	m.Watch.Tell(ore.Event{Stage: "prepare", Text: fmt.Sprintf("%s: %d packages have changed", wanted, len(newer))})
	begun := time.Now()
	made, err := m.Build(ctx, wants, m.Watch)
	if err != nil {
		return r.skip(ctx, called, err)
	}
	if err := m.Cache.Replace(ctx, img.Key, made.Key); err != nil {
		return err
	}
	r.Prepared = append(r.Prepared, Prepared{
		At: time.Now(), Old: img.Key, Key: made.Key, Wanted: old.Manual, Probability: probability, Newer: newer, Took: time.Since(begun),
	})
	return nil
}

// Mark marks all images whose packages have newer versions, and returns how many
// those are. Images whose wish cannot be resolved any more stay as they are.
func (m *Maker) Mark(ctx context.Context) (int, error) {
	all, err := m.Cache.List(ctx)
	if err != nil {
		return 0, err
	}
	newer := map[ore.Digest]string{}
	for _, e := range all {
		img, err := m.Cache.Find(ctx, e.Key)
		if image.Unusable(err) {
			continue
		}
		if err != nil {
			return 0, err
		}
		wants, why := wish(img.Environment)
		if why != "" {
			continue
		}
		env, err := m.Resolve(ctx, wants)
		if err != nil {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			continue
		}
		now := map[string]ore.Package{}
		for _, p := range env.Packages {
			now[p.Name+":"+p.Arch] = p
		}
		for _, p := range img.Environment.Packages {
			if n, ok := now[p.Name+":"+p.Arch]; ok && n.Version != p.Version {
				newer[p.Digest] = n.Version
			}
		}
	}
	return m.Cache.Mark(ctx, func(p ore.Package) string { return newer[p.Digest] })
}

// Newer lists the packages of old that have another version in env.
func Newer(old, env ore.Environment) []cache.Outdated {
	now := map[string]string{}
	for _, p := range env.Packages {
		now[p.Name+":"+p.Arch] = p.Version
	}
	var all []cache.Outdated
	for _, p := range old.Packages {
		if v, ok := now[p.Name+":"+p.Arch]; ok && v != p.Version {
			all = append(all, cache.Outdated{Name: p.Name, Version: p.Version, Newer: v})
		}
	}
	return all
}

// wish returns what env was resolved from, or why that is not known.
func wish(env ore.Environment) (ore.Wants, string) {
	w := ore.Wants{Base: env.Base, Steps: env.Steps}
	for _, name := range env.Manual {
		w.Packages = append(w.Packages, ore.Wish{Name: name})
	}
	if len(env.Files) > 0 {
		return w, "it has files, whose sources only its job file knows"
	}
	for _, s := range env.Sources {
		if s.URI != "" {
			return w, "it has further repositories, whose certificates only its job file has"
		}
	}
	return w, ""
}

// Saving is what preparing has gained.
type Saving struct {
	Images   int           // that were prepared
	Used     int           // of them that were asked for afterwards
	Requests int           // for them
	Waited   time.Duration // that requests would have had to wait for them
	Spent    time.Duration // on preparing
}

// Gain compares what was prepared with the requests that followed: the first one
// for each image would have had to wait for it to be made.
func Gain(prepared []Prepared, requests []cache.Request) Saving {
	var s Saving
	for _, p := range prepared {
		s.Images++
		s.Spent += p.Took
		n := 0
		for _, r := range requests {
			if r.Key == p.Key && r.When.After(p.At) {
				n++
			}
		}
		if n > 0 {
			s.Used++
			s.Requests += n
			s.Waited += p.Took
		}
	}
	return s
}
