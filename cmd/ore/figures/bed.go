package figures

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"ore/site/installing"
	"ore/testbed"
)

// bed is a test bed whose hosts have an agent each while something is measured.
type bed struct {
	*lab
	bed  *testbed.Bed
	info testbed.Info
}

// Where agents and the depot listen on their hosts.
const (
	agentPort = "7447"
	depotPort = "7448"
)

// openBed makes the bed, and keys for its hosts.
func (l *lab) openBed(ctx context.Context) (*bed, error) {
	n := l.settings.Machines[len(l.settings.Machines)-1]
	up, err := testbed.Up(ctx, testbed.Config{Hosts: n, Link: l.settings.Link})
	if err != nil {
		return nil, err
	}
	b := &bed{lab: l, bed: up}
	if b.info, err = up.Info(); err != nil {
		return nil, errors.Join(err, up.Down())
	}
	for _, h := range b.hosts(n) {
		out, err := output(l.command(ctx, "", "hosts", "issue", h.Name))
		if err == nil {
			err = os.WriteFile(b.keys(h.Name), out, 0o600)
		}
		if err != nil {
			return nil, errors.Join(err, up.Down())
		}
	}
	return b, nil
}

func (b *bed) keys(host string) string { return filepath.Join(b.dir, host+".keys") }
func (b *bed) kept(host string) string { return filepath.Join(b.dir, "hosts", host) }
func (b *bed) blobs(host string) string {
	return filepath.Join(b.kept(host), "blobs", "sha256")
}

// kit is a folder of what machines are started with, as hosts keep it.
func (b *bed) kit() string { return filepath.Join(b.dir, "kit") }

// hosts returns the first n, head not among them.
func (b *bed) hosts(n int) []testbed.Host {
	all := slices.DeleteFunc(slices.Clone(b.info.Hosts), func(h testbed.Host) bool { return h.Name == testbed.Head })
	return all[:n]
}

func (b *bed) head() testbed.Host {
	return b.info.Hosts[slices.IndexFunc(b.info.Hosts, func(h testbed.Host) bool { return h.Name == testbed.Head })]
}

// setKitAside keeps what the first host got for its machine: nothing of the tree,
// which that fetched for itself.
func (b *bed) setKitAside(ctx context.Context) error {
	_, err := output(exec.CommandContext(ctx, "cp", "-a", b.blobs(b.hosts(1)[0].Name), b.kit()))
	return err
}

// measure measures with a machine on each of the first hosts.
func (b *bed) measure(ctx context.Context, a arm, r *row, args []string) (err error) {
	if a.slow {
		if err := b.bed.Shape(ctx, testbed.Head, a.rate(b.settings)); err != nil {
			return err
		}
		defer func() {
			err = errors.Join(err, b.bed.Shape(context.WithoutCancel(ctx), testbed.Head, cmp.Or(b.settings.Link, unshaped)))
		}()
	}
	agents, err := b.start(ctx, a, r.Machines)
	defer func() { err = errors.Join(err, dismiss(agents)) }()
	if err != nil {
		return err
	}
	args = append(args, "--engine", "hosts")
	for _, h := range b.hosts(r.Machines) {
		args = append(args, "--host", h.Name+"="+h.Address.String()+":"+agentPort)
	}
	if !a.once {
		at := b.head().Address.String() + ":" + depotPort
		d, err := b.startDepot(ctx, depotOf{host: testbed.Head, network: "tcp", address: at})
		if err != nil {
			return err
		}
		defer func() {
			_, ended := d.end()
			err = errors.Join(err, ended)
		}()
		args = append(args, "--"+installing.DepotFlag, "http://"+at)
	}
	before, err := b.bed.Sent(testbed.Head)
	if err != nil {
		return err
	}
	if err := b.time(ctx, r, args); err != nil {
		return err
	}
	after, err := b.bed.Sent(testbed.Head)
	r.Crossed = after - before
	return err
}

// unshaped is a rate that no link of a bed comes near.
const unshaped = 100e9

// agent lends a host.
type agent struct {
	cmd   *exec.Cmd
	lease io.Closer
	said  *bytes.Buffer
}

// start starts agents on the first n hosts, which have the kit and nothing else.
func (b *bed) start(ctx context.Context, a arm, n int) ([]agent, error) {
	hosts := b.hosts(n)
	all := make([]agent, n)
	const atOnce = 4 // starting a process is the cores' work, which more would queue up for
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, h := range hosts {
		g.Go(func() (err error) {
			if err = b.furnish(ctx, h.Name, a); err == nil {
				all[i], err = b.lend(ctx, h)
			}
			return err
		})
	}
	err := g.Wait()
	return slices.DeleteFunc(all, func(a agent) bool { return a.cmd == nil }), err
}

// furnish makes a host's folder anew. The installer and the tree may be made of the
// same base: where the tree is to come by the chain, none of it is there before.
func (b *bed) furnish(ctx context.Context, host string, a arm) error {
	if err := errors.Join(os.RemoveAll(b.kept(host)), os.MkdirAll(b.blobs(host), 0o755)); err != nil {
		return err
	}
	if _, err := os.Stat(b.kit()); err != nil {
		return nil // there is none yet
	}
	if _, err := output(exec.CommandContext(ctx, "cp", "-al", b.kit()+"/.", b.blobs(host))); err != nil || !a.once {
		return err
	}
	for _, l := range b.tree.Layers {
		if err := os.RemoveAll(filepath.Join(b.blobs(host), l.Digest.Hex())); err != nil {
			return err
		}
	}
	return nil
}

// lend starts an agent and waits until it serves.
func (b *bed) lend(ctx context.Context, h testbed.Host) (agent, error) {
	a := agent{said: &bytes.Buffer{}}
	// Its end is that of its lease, so that it removes what it has.
	cmd := b.command(context.WithoutCancel(ctx), h.Name, "node", "--lease", "--trust", b.keys(h.Name), "--dir", b.kept(h.Name),
		"--name", h.Name, "--listen", h.Address.String()+":"+agentPort)
	cmd.Stderr = a.said
	in, err := cmd.StdinPipe()
	if err != nil {
		return a, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return a, err
	}
	if err := cmd.Start(); err != nil {
		return a, err
	}
	a.cmd, a.lease = cmd, in
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return a, fmt.Errorf("the agent of %s does not serve: %w: %s", h.Name, err, bytes.TrimSpace(a.said.Bytes()))
	}
	return a, nil
}

// dismiss ends agents, which remove all that they have of jobs.
func dismiss(all []agent) error {
	var errs []error
	for _, a := range all {
		errs = append(errs, a.lease.Close())
	}
	for _, a := range all {
		if err := a.cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("agent: %w: %s", err, bytes.TrimSpace(a.said.Bytes())))
		}
	}
	return errors.Join(errs...)
}
