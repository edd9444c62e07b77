package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"ore"
	"ore/testbed"
)

// request is what the person at the source asks for.
func (l *lab) request(results string, n int, more ...string) []string {
	return append(append(common(results, n), more...), "-f", l.jobFile(), "-i", l.input("query.fa"), "-i", l.input("db.fa"), "-o", "answer",
		"--", "sh", "-c", search)
}

// common are the words of each request.
func common(results string, n int) []string {
	return []string{"run", "-q", "-n", strconv.Itoa(n), "--memory", "256M", "--hypervisor", "uml", "--network", "isolated", "--results", results}
}

// elsewhere are the words that name the first n hosts.
func (l *lab) elsewhere(n int) []string {
	flags := []string{"--engine", "hosts"}
	for i := 1; i <= n; i++ {
		h := l.host(i)
		flags = append(flags, "--host", h.Name+"="+h.Address.String()+":"+agentPort)
	}
	return flags
}

// introduce makes keys for all hosts, and has the source once do what is no part
// of any arm: read the mirror's indexes at its own address.
func (l *lab) introduce(ctx context.Context) error {
	for i := 1; i <= l.hosts; i++ {
		h := l.host(i)
		out, err := output(l.ordinarily(ctx, testbed.Head, l.home(), "hosts", "issue", h.Name))
		if err != nil {
			return err
		}
		if err := errors.Join(os.WriteFile(l.keys(h.Name), out, 0o600), l.own(l.keys(h.Name))); err != nil {
			return err
		}
	}
	if _, err := l.oursEmpty(ctx, 1); err != nil {
		return err
	}
	if err := l.setKitAside(ctx); err != nil {
		return err
	}
	_, err := l.ours(ctx, l.hosts) // which leaves all hosts as a job leaves them
	return err
}

// kit is a folder with what machines are started with, as a host keeps it.
func (l *lab) kit() string { return filepath.Join(l.dir, "kit") }

// blobs is where an agent keeps its own.
func (l *lab) blobs(host string) string {
	return filepath.Join(l.kept(host), "node", "blobs", "sha256")
}

// used is the folder of what an agent keeps of the kit from job to job, while no
// agent runs there: blobs, that they were verified, and what was laid out of them.
func (l *lab) used(host string) string { return filepath.Join(l.dir, "used", host) }

// usedParts are the folders of that.
var usedParts = [...]string{"blobs/sha256", "stamps", "laid"}

// setUsedAside moves what the agent of a host keeps of the kit to where the next
// one gets it from. What was verified and what was laid out is known by its inodes,
// and by when these changed: so nothing is copied, and it is folders that are moved,
// since a file that is moved counts as changed.
func (l *lab) setUsedAside(host string) error {
	kit, err := os.ReadDir(l.kit())
	if err != nil {
		return err
	}
	for _, part := range usedParts {
		from, to := filepath.Join(l.kept(host), "node", part), filepath.Join(l.used(host), part)
		all, err := os.ReadDir(from)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range all {
			ofKit := slices.ContainsFunc(kit, func(k os.DirEntry) bool { return k.Name() == e.Name() })
			if ofKit {
				continue
			}
			if err := os.RemoveAll(filepath.Join(from, e.Name())); err != nil {
				return err
			}
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.RemoveAll(to), os.Rename(from, to)); err != nil {
			return err
		}
	}
	return nil
}

// takeUsed moves it back; ok is false where no agent has left anything yet.
func (l *lab) takeUsed(host string) (ok bool, err error) {
	for _, part := range usedParts {
		to := filepath.Join(l.kept(host), "node", part)
		if err := os.RemoveAll(to); err != nil {
			return false, err
		}
		err := os.Rename(filepath.Join(l.used(host), part), to)
		if errors.Is(err, fs.ErrNotExist) {
			err = os.Mkdir(to, 0o755)
		} else {
			ok = true
		}
		if err := errors.Join(err, l.own(to)); err != nil {
			return false, err
		}
	}
	return ok, nil
}

// setKitAside keeps all that the first host got but the image.
func (l *lab) setKitAside(ctx context.Context) error {
	if _, err := output(exec.CommandContext(ctx, "cp", "-a", l.blobs("h1"), l.kit())); err != nil {
		return err
	}
	var errs []error
	for _, d := range l.digests {
		errs = append(errs, os.Remove(filepath.Join(l.kit(), d)))
	}
	return errors.Join(errs...)
}

// furnish makes the folder of a host, with the kit in it or with nothing. The kit
// is as the last agent there has left it, or for the first one blobs and nothing
// else.
func (l *lab) furnish(ctx context.Context, host string, kit bool) error {
	if err := os.RemoveAll(l.kept(host)); err != nil {
		return err
	}
	for _, d := range []string{"", "node", "node/blobs", "node/blobs/sha256"} {
		d = filepath.Join(l.kept(host), d)
		if err := errors.Join(os.Mkdir(d, 0o755), l.own(d)); err != nil {
			return err
		}
	}
	if !kit {
		return nil
	}
	if ok, err := l.takeUsed(host); ok || err != nil {
		return err
	}
	_, err := output(exec.CommandContext(ctx, "cp", "-al", l.kit()+"/.", l.blobs(host)))
	return err
}

func (l *lab) keys(host string) string { return filepath.Join(l.dir, host+".keys") }

// ordinarily makes a command of ore's on a host.
func (l *lab) ordinarily(ctx context.Context, host, home string, args ...string) *exec.Cmd {
	cmd := l.bed.CommandAs(ctx, l.user, host, append([]string{l.program()}, args...)...)
	cmd.Env = l.environment(home, l.url+"/mirror")
	return cmd
}

// agent is a host that lends itself to jobs.
type agent struct {
	cmd   *exec.Cmd
	lease io.Closer
}

// end has an agent end, which removes all of the job's.
func (a agent) end() error {
	return errors.Join(a.lease.Close(), a.cmd.Wait())
}

// agents starts those of the first n hosts, which have the kit or nothing.
func (l *lab) agents(ctx context.Context, n int, kit bool) (_ []agent, err error) {
	var all []agent
	defer func() {
		if err != nil {
			err = errors.Join(err, dismiss(all))
		}
	}()
	for i := 1; i <= n; i++ {
		h := l.host(i)
		home := l.kept(h.Name)
		if err := l.furnish(ctx, h.Name, kit); err != nil {
			return all, err
		}
		cmd := l.ordinarily(context.WithoutCancel(ctx), h.Name, home, "node", "--lease", "--trust", l.keys(h.Name), "--dir", filepath.Join(home, "node"),
			"--name", h.Name, "--listen", h.Address.String()+":"+agentPort)
		cmd.Stderr = os.Stderr
		lease, err := ready(cmd)
		if err != nil {
			return all, err
		}
		all = append(all, agent{cmd, lease})
	}
	return all, nil
}

// dismiss ends agents.
func dismiss(all []agent) error {
	var errs []error
	for _, a := range all {
		errs = append(errs, a.end())
	}
	return errors.Join(errs...)
}

// ours is a request for n machines on n hosts that have what machines are started
// with, as the hosts of the peers do, and nothing of the image.
func (l *lab) ours(ctx context.Context, n int) (row, error) { return l.fresh(ctx, n, true) }

// oursEmpty is the same on hosts that have the program ore and nothing else.
func (l *lab) oursEmpty(ctx context.Context, n int) (row, error) { return l.fresh(ctx, n, false) }

func (l *lab) fresh(ctx context.Context, n int, kit bool) (row, error) {
	all, err := l.agents(ctx, n, kit)
	if err != nil {
		return row{}, err
	}
	before, err := l.stored("h1")
	if err != nil {
		return row{}, errors.Join(err, dismiss(all))
	}
	r, err := l.ask(ctx, n)
	if err == nil {
		r.Stored, err = l.stored("h1")
		r.Stored -= before
	}
	if err := errors.Join(err, dismiss(all)); err != nil || !kit {
		return r, err
	}
	for i := 1; i <= n; i++ {
		if err := l.setUsedAside(l.host(i).Name); err != nil {
			return r, err
		}
	}
	return r, nil
}

// ask times the whole command, until it has ended and nothing of the job is left.
func (l *lab) ask(ctx context.Context, n int) (row, error) {
	results := filepath.Join(l.home(), "results")
	if err := os.RemoveAll(results); err != nil {
		return row{}, err
	}
	before, err := l.bed.Sent(testbed.Head)
	if err != nil {
		return row{}, err
	}
	c := startClock()
	_, err = output(l.ordinarily(ctx, testbed.Head, l.home(), l.request(results, n, l.elsewhere(n)...)...))
	r := c.end()
	if err != nil {
		return r, err
	}
	after, err := l.bed.Sent(testbed.Head)
	if err != nil {
		return r, err
	}
	r.Sent = after - before
	if r.Stages, err = stages(results); err != nil {
		return r, err
	}
	answers, err := l.answers(results)
	if err != nil {
		return r, err
	}
	return r, l.check(answers, n)
}

// answers returns what each machine of the one job in results found.
func (l *lab) answers(results string) ([][]byte, error) {
	files, err := filepath.Glob(filepath.Join(results, "*", "*", "answer"))
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no answer in %s", results)
	}
	return all, nil
}

// check fails unless there are n answers and all say the same.
func (l *lab) check(answers [][]byte, n int) error {
	if len(answers) != n {
		return fmt.Errorf("%d of %d answers", len(answers), n)
	}
	for i, a := range answers {
		if len(a) == 0 || !bytes.Equal(a, l.answer) {
			return fmt.Errorf("answer %d of %d is not that of this host: %.200q", i+1, n, a)
		}
	}
	return nil
}

// stages reads the timeline of the one job in results: the stages of the job,
// and the longest of those that machines and hosts have one each of.
func stages(results string) (map[string]float64, error) {
	files, err := filepath.Glob(filepath.Join(results, "*", "result.json"))
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("%d results in %s, not one: %w", len(files), results, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return nil, err
	}
	var r ore.Result
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for _, s := range r.Timeline {
		took := s.End.Sub(s.Start).Seconds()
		if s.Machine == "" {
			all[s.Name] += took
		} else {
			all["longest "+s.Name] = max(all["longest "+s.Name], took)
		}
	}
	return all, nil
}

// stored is how many bytes of blobs a host has.
func (l *lab) stored(host string) (int64, error) {
	list, err := os.ReadDir(l.blobs(host))
	if err != nil {
		return 0, err
	}
	var total int64
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return total, nil
}
