package deb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/deb/fetch"
	"ore/deb/index"
	"ore/deb/release"
	"ore/deb/resolve"
)

const (
	// staleLimit is how long proved indexes may serve while no mirror answers.
	staleLimit = 7 * 24 * time.Hour
	// hurriedTries and hurriedStall bound the wait for a mirror when there
	// are indexes that can serve without it.
	hurriedTries = 2
	hurriedStall = 5 * time.Second
	// retryAfter is how long a mirror that did not answer is left alone when
	// there are indexes that can serve without it.
	retryAfter = 5 * time.Minute
)

// opened is a source with its indexes open.
type opened struct {
	source
	state   state
	indexes []*index.Index
}

func (o opened) close() error {
	var errs []error
	for _, x := range o.indexes {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}

// opener opens the sources of one call of Open.
type opener struct {
	config Config
	store  store
	client *fetch.Client
}

// open opens src from the cache if what is there is fresh, else asks the mirror.
func (o *opener) open(ctx context.Context, src source) (opened, error) {
	t, err := o.config.trust(src)
	if err != nil {
		return opened{}, err
	}
	st := o.store.load(src)
	kept, err := o.reopen(src, st, t)
	if err == nil && o.fresh(st) {
		return kept, nil
	}
	usable := err == nil
	r := &refresh{opener: o, src: src, trust: t, kept: st, usable: usable}
	st, err = r.run(ctx)
	if usable {
		err = errors.Join(err, kept.close())
	}
	if err != nil {
		return opened{}, err
	}
	return o.reopen(src, st, t)
}

// fresh reports whether st needs no word from the mirror.
func (o *opener) fresh(st state) bool {
	age, tried := o.config.now().Sub(st.Checked), o.config.now().Sub(st.Tried)
	return age >= 0 && age < o.config.maxAge() ||
		age < staleLimit && tried >= 0 && tried < min(retryAfter, o.config.maxAge())
}

// reopen opens the indexes that st names. It fails when st is not enough for
// src: other certificates, another component, expired, or a file is gone.
func (o *opener) reopen(src source, st state, t trust) (opened, error) {
	now := o.config.now()
	if st.Version == 0 || st.Trust != t.digest || !st.ValidUntil.IsZero() && now.After(st.ValidUntil) {
		return opened{}, errNoIndex
	}
	result := opened{source: src, state: st}
	if st.Absent != "" {
		return result, nil
	}
	for _, component := range src.parts() {
		known := false
		for _, p := range st.Packed {
			if p.Component != component {
				continue
			}
			known = true
			if p.Digest == "" {
				continue // the suite does not have the component
			}
			x, err := index.Open(o.store.packedPath(p.Digest))
			if err != nil {
				return opened{}, errors.Join(err, result.close())
			}
			result.indexes = append(result.indexes, x)
		}
		if !known {
			return opened{}, errors.Join(errNoIndex, result.close())
		}
	}
	return result, nil
}

// parts returns the components, or one without a name for a flat archive.
func (s source) parts() []string {
	if len(s.components) == 0 {
		return []string{""}
	}
	return s.components
}

// refresh is the work of asking a mirror about one source.
type refresh struct {
	*opener
	src    source
	trust  trust
	kept   state
	usable bool // the kept indexes could serve
}

// run returns the state after asking, which is saved.
func (r *refresh) run(ctx context.Context) (state, error) {
	r.tell("asking " + r.src.String())
	body, known, err := r.releaseFile(ctx)
	switch {
	case err == nil:
	case r.usable && fetch.Unreachable(err) && r.config.now().Sub(r.kept.Checked) < staleLimit:
		r.tell(fmt.Sprintf("%v; using the indexes proved on %s", err, r.kept.Checked.Format(time.DateTime)))
		r.kept.Tried = r.config.now()
		return r.kept, r.store.save(r.src, r.kept, nil)
	case fetch.NotFound(err) && r.src.optional:
		return r.absent("it does not exist")
	case fetch.NotFound(err):
		return state{}, fmt.Errorf("suite %s: the mirror %s has no such suite: check its name and the mirror's address", r.src.suite, r.src.uri)
	default:
		return state{}, fmt.Errorf("suite %s: %w", r.src.suite, err)
	}
	rel, err := r.prove(body)
	if err != nil {
		return state{}, err
	}
	if r.src.foreign && !strings.EqualFold(rel.Origin, r.config.distribution()) {
		return r.absent("it is not of " + r.config.distribution())
	}
	st := state{Version: stateVersion, Trust: r.trust.digest, Checked: r.config.now(), Date: rel.Date, ValidUntil: rel.ValidUntil, Known: known, Pin: pin(rel)}
	if st.Packed, err = r.indexes(ctx, rel); err != nil {
		return state{}, err
	}
	if err := r.store.save(r.src, st, body); err != nil {
		return state{}, err
	}
	return st, r.store.tidy(r.config.now())
}

// pin returns the weight that apt gives to the packages of a suite.
func pin(rel release.Release) int {
	switch {
	case rel.NotAutomatic && rel.ByHand:
		return resolve.PinUpgradesByHand
	case rel.NotAutomatic:
		return resolve.PinNotAutomatic
	}
	return resolve.PinNormal
}

func (r *refresh) tell(text string) {
	r.config.Watch.Tell(ore.Event{Stage: "index", Text: text})
}

// absent notes that the source is left out.
func (r *refresh) absent(why string) (state, error) {
	r.tell(fmt.Sprintf("leaving %s out: %s", r.src, why))
	st := state{Version: stateVersion, Trust: r.trust.digest, Checked: r.config.now(), Absent: why}
	return st, r.store.save(r.src, st, nil)
}

// releaseFile gets the InRelease file: the kept one if it still stands.
func (r *refresh) releaseFile(ctx context.Context) ([]byte, fetch.Validators, error) {
	client := *r.client
	var known fetch.Validators
	old := r.store.inRelease(r.src)
	if r.usable {
		client.Tries, client.Stall = hurriedTries, hurriedStall
		if old != nil {
			known = r.kept.Known
		}
	}
	page, err := client.Page(ctx, r.src.root()+"/InRelease", known, release.MaxSize)
	if err != nil {
		return nil, fetch.Validators{}, err
	}
	if page.Unchanged {
		return old, page.Validators, nil
	}
	return page.Body, page.Validators, nil
}

// prove checks the signature and the dates, and that it is the suite asked for.
func (r *refresh) prove(body []byte) (release.Release, error) {
	now := r.config.now()
	keyring, err := r.trust.keyring()
	if err != nil {
		return release.Release{}, fmt.Errorf("source %s: %w", r.src, err)
	}
	rel, err := release.Verify(body, keyring, now)
	if err != nil {
		return release.Release{}, fmt.Errorf("source %s: InRelease: %w: do not trust this mirror, or name the keyring that it is signed with (--keyring)", r.src, err)
	}
	if err := rel.Check(now); err != nil {
		hint := "the mirror is stale: use another one"
		if errors.Is(err, release.ErrFuture) {
			hint = "set this host's clock"
		}
		return release.Release{}, fmt.Errorf("source %s: %w: %s", r.src, err, hint)
	}
	if !r.kept.Date.IsZero() && rel.Date.Before(r.kept.Date) {
		return release.Release{}, fmt.Errorf("source %s: its release file of %s is older than that of %s seen before: the mirror is stale or replays old files: use another one",
			r.src, rel.Date.Format(time.DateTime), r.kept.Date.Format(time.DateTime))
	}
	named := rel.Codename != "" || rel.Suite != ""
	if !r.src.further && named && rel.Codename != r.src.suite && rel.Suite != r.src.suite {
		return release.Release{}, fmt.Errorf("source %s: the release file is that of %s (%s): use another mirror", r.src, rel.Codename, rel.Suite)
	}
	return rel, nil
}

// indexes gets the indexes of all components, several at once.
func (r *refresh) indexes(ctx context.Context, rel release.Release) ([]packed, error) {
	for _, dir := range []string{r.store.packedPath(""), r.store.partial("")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	parts := r.src.parts()
	results := make([][]packed, len(parts))
	g, ctx := errgroup.WithContext(ctx)
	for i, component := range parts {
		if component != "" && !rel.Has(component) {
			if component == "main" {
				return nil, fmt.Errorf("source %s: it has no component main", r.src)
			}
			r.tell(fmt.Sprintf("%s has no component %s", r.src, component))
			results[i] = []packed{{Component: component}}
			continue
		}
		g.Go(func() (err error) {
			results[i], err = r.component(ctx, rel, component)
			return err
		})
	}
	err := g.Wait()
	return slices.Concat(results...), err
}
