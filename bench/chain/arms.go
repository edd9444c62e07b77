package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// How much slower the slow receiver is, and which one that is.
const slowdown = 10

type armFunc func(*bench, context.Context) (record, error)

func arms() map[string]armFunc {
	return map[string]armFunc{
		"ore1":     func(b *bench, ctx context.Context) (record, error) { return b.ore(ctx, 1, trouble{}) },
		"ore":      func(b *bench, ctx context.Context) (record, error) { return b.ore(ctx, b.hosts, trouble{}) },
		"oreslow":  func(b *bench, ctx context.Context) (record, error) { return b.ore(ctx, b.hosts, trouble{slow: true}) },
		"oredeath": func(b *bench, ctx context.Context) (record, error) { return b.ore(ctx, b.hosts, trouble{death: true}) },
		"nc":       func(b *bench, ctx context.Context) (record, error) { return b.nc(ctx, b.hosts) },
		"nc1":      func(b *bench, ctx context.Context) (record, error) { return b.nc(ctx, 1) },
		"star":     func(b *bench, ctx context.Context) (record, error) { return b.star(ctx) },
		"udpcast":  func(b *bench, ctx context.Context) (record, error) { return b.udpcast(ctx, false) },
		"udpcastcap": func(b *bench, ctx context.Context) (record, error) {
			return b.udpcast(ctx, true)
		},
	}
}

func armNames() []string {
	return []string{"ore1", "ore", "oreslow", "oredeath", "nc1", "nc", "star", "udpcast", "udpcastcap"}
}

func (b *bench) arm(ctx context.Context, name string) (record, error) { return arms()[name](b, ctx) }

// fresh empties the folder of each host.
func (b *bench) fresh() error {
	for i := range b.hosts + 1 {
		d := b.place(i)
		if err := errors.Join(os.RemoveAll(d), os.MkdirAll(d, 0o700)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) place(host int) string { return filepath.Join(b.dir, space(host)) }

// whole fails unless hosts 1 to n have as many bytes as the source.
func (b *bench) whole(n int) error {
	for i := 1; i <= n; i++ {
		st, err := os.Stat(filepath.Join(b.place(i), "blob"))
		if err != nil {
			return err
		}
		if st.Size() != b.size {
			return fmt.Errorf("host %d has %d of %d bytes", i, st.Size(), b.size)
		}
	}
	return nil
}

// trouble is what happens to the host in the middle.
type trouble struct {
	slow, death bool
}

// ore times our own chain: peers run at all hosts, the conductor at the source.
func (b *bench) ore(ctx context.Context, n int, tr trouble) (record, error) {
	if err := b.fresh(); err != nil {
		return record{}, err
	}
	middle := (n + 1) / 2
	if tr.slow {
		if err := b.shape(ctx, middle, b.rate/slowdown); err != nil {
			return record{}, err
		}
		defer b.shape(ctx, middle, b.rate)
	}
	self, err := os.Executable()
	if err != nil {
		return record{}, err
	}
	var plan plan
	for i := range n + 1 {
		add := ""
		if i == 0 {
			add = b.file
		}
		p, err := spawn(in(ctx, i, self, "peer", b.place(i), address(i)+":7400", add))
		if err != nil {
			return record{}, err
		}
		defer p.end()
		var h hello
		if err := json.Unmarshal(p.line, &h); err != nil {
			return record{}, fmt.Errorf("host %d: %w", i, err)
		}
		if i == 0 {
			plan.Blob = h.Blob
		}
		plan.Hosts = append(plan.Hosts, h.host(i))
		if tr.death && i == middle {
			go p.killAt(ctx, filepath.Join(b.place(i), h0(plan).String()+".part"), b.size/2)
		}
	}
	plan.Leave = tr.slow || tr.death
	spec, err := json.Marshal(plan)
	if err != nil {
		return record{}, err
	}
	cmd := in(ctx, 0, self, "conduct")
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(spec)), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return record{}, err
	}
	var r record
	err = json.Unmarshal(out, &r)
	r.N = n
	return r, err
}

// process is a program that said a line and runs on.
type process struct {
	cmd  *exec.Cmd
	in   io.Closer
	line []byte
}

func spawn(cmd *exec.Cmd) (*process, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		err = errors.Join(fmt.Errorf("%s: said nothing: %w", cmd.Path, err), in.Close(), cmd.Wait())
	}
	return &process{cmd, in, line}, err
}

func (p *process) end() {
	p.in.Close()
	p.cmd.Wait()
}

// killAt kills a process when a file has grown to size.
func (p *process) killAt(ctx context.Context, name string, size int64) {
	for t := time.NewTicker(2 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		var st syscall.Stat_t // a probe writes near the end early: blocks count, not the size
		if err := syscall.Stat(name, &st); err == nil && st.Blocks*512 >= size {
			t.Stop()
			p.cmd.Process.Kill()
			return
		}
	}
}

// group runs commands side by side and waits for all.
func group(cmds []*exec.Cmd) (func() error, error) {
	for i, c := range cmds {
		if err := c.Start(); err != nil {
			for _, d := range cmds[:i] {
				d.Process.Kill()
				d.Wait()
			}
			return nil, err
		}
	}
	return func() error { return waitAll(cmds) }, nil
}

func waitAll(cmds []*exec.Cmd) error {
	var all error
	for _, c := range cmds {
		if err := c.Wait(); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", strings.Join(c.Args, " "), err))
		}
	}
	return all
}

// settle gives listeners time to listen, which they do not tell.
func settle(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
}

// nc is the chain of old: nc | tee | nc, host by host.
func (b *bench) nc(ctx context.Context, n int) (record, error) {
	if err := b.fresh(); err != nil {
		return record{}, err
	}
	var hops []*exec.Cmd
	for i := n; i >= 1; i-- {
		line := fmt.Sprintf("nc -l 7401 > %s/blob", b.place(i))
		if i < n {
			line = fmt.Sprintf("nc -l 7401 | tee %s/blob | nc -N %s 7401", b.place(i), address(i+1))
		}
		hop := in(ctx, i, "sh", "-c", line)
		if err := hop.Start(); err != nil {
			return record{}, err
		}
		hops = append(hops, hop)
		for out := []byte(nil); len(out) == 0; { // the hop before connects at once
			var err error
			if out, err = in(ctx, i, "ss", "-ltnH", "sport = :7401").Output(); err != nil {
				return record{}, err
			}
		}
	}
	begun := time.Now()
	send := in(ctx, 0, "sh", "-c", fmt.Sprintf("nc -N %s 7401 < %s", address(1), b.file)).Run()
	err := errors.Join(send, waitAll(hops))
	return record{Seconds: time.Since(begun).Seconds(), N: n}, errors.Join(err, b.whole(n))
}

// star has all hosts fetch from the source by HTTP.
func (b *bench) star(ctx context.Context) (record, error) {
	if err := b.fresh(); err != nil {
		return record{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return record{}, err
	}
	server, err := spawn(in(ctx, 0, self, "http", filepath.Dir(b.file), address(0)+":7402"))
	if err != nil {
		return record{}, err
	}
	defer server.end()
	var gets []*exec.Cmd
	for i := 1; i <= b.hosts; i++ {
		gets = append(gets, in(ctx, i, self, "get", "http://"+address(0)+":7402/blob", filepath.Join(b.place(i), "blob")))
	}
	begun := time.Now()
	wait, err := group(gets)
	if err != nil {
		return record{}, err
	}
	err = wait()
	return record{Seconds: time.Since(begun).Seconds(), N: b.hosts}, errors.Join(err, b.whole(b.hosts))
}

// udpcast is multicast with acknowledgements; capped it sends just below the
// link's rate, which helps it.
func (b *bench) udpcast(ctx context.Context, capped bool) (record, error) {
	if err := b.fresh(); err != nil {
		return record{}, err
	}
	var all []*exec.Cmd
	for i := 1; i <= b.hosts; i++ {
		all = append(all, in(ctx, i, "udp-receiver", "--interface", "eth0", "--nokbd", "--file", filepath.Join(b.place(i), "blob")))
	}
	wait, err := group(all)
	if err != nil {
		return record{}, err
	}
	settle(ctx)
	args := []string{"udp-sender", "--interface", "eth0", "--nokbd", "--full-duplex", "--min-receivers", fmt.Sprint(b.hosts), "--file", b.file}
	if capped {
		args = append(args, "--max-bitrate", fmt.Sprintf("%.0fk", b.rate*950))
	}
	begun := time.Now()
	send := in(ctx, 0, args...).Run()
	err = errors.Join(send, wait())
	return record{Seconds: time.Since(begun).Seconds(), N: b.hosts}, errors.Join(err, b.whole(b.hosts))
}
