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

// arm is one way to bring the blob to hosts.
type arm struct {
	name  string
	hosts func(b *bench) int
	run   func(b *bench, ctx context.Context, n int) (record, error)
}

func one(*bench) int   { return 1 }
func all(b *bench) int { return b.hosts }

func arms() []arm {
	return []arm{
		{"ore1", one, (*bench).undisturbed},
		{"ore", all, (*bench).undisturbed},
		{"oreslow", all, (*bench).oneSlow},
		{"oredeath", all, (*bench).oneDead},
		{"nc1", one, (*bench).nc},
		{"nc", all, (*bench).nc},
		{"star", all, (*bench).star},
		{"rsync", all, (*bench).rsync},
		{"udpcast", all, (*bench).udpcast},
		{"udpcastcap", all, (*bench).udpcastCapped},
		{"uftp", all, (*bench).uftp},
		{"aria2", all, (*bench).aria2},
	}
}

func armNames() []string {
	var names []string
	for _, a := range arms() {
		names = append(names, a.name)
	}
	return names
}

func (b *bench) undisturbed(ctx context.Context, n int) (record, error) {
	return b.ore(ctx, n, trouble{})
}

func (b *bench) oneSlow(ctx context.Context, n int) (record, error) {
	return b.ore(ctx, n, trouble{slow: true})
}

func (b *bench) oneDead(ctx context.Context, n int) (record, error) {
	return b.ore(ctx, n, trouble{death: true})
}

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
