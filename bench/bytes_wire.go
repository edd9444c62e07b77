package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// runOre brings a host that has the old image of each upgrade up to date,
// and counts all bytes of the connections, either way.
func (u *updates) runOre(ctx context.Context, b *bench, round int) error {
	clock := startClock(oreUpdate, round)
	serve, cancel := context.WithCancel(ctx)
	defer cancel()
	url, ended, err := u.serve(serve, b)
	if err != nil {
		return err
	}
	defer func() { cancel(); <-ended }()
	sum := int64(0)
	parts := map[string]float64{}
	for _, x := range u.all {
		n, err := u.host(ctx, b, url, x)
		if err != nil {
			return fmt.Errorf("update %s: %w", x.name, err)
		}
		sum += n
		parts[x.name+", MB"] = float64(n) / 1e6
	}
	return b.record.add(amount(clock, sum, parts))
}

// amount makes a sample of bytes.
func amount(c *clock, n int64, parts map[string]float64) sample {
	s := c.stop(0)
	s.Value, s.Unit, s.Stages = float64(n)/1e6, "MB", parts
	return s
}

// serve starts the server and returns its URL. It ends with ctx.
func (u *updates) serve(ctx context.Context, b *bench) (string, <-chan error, error) {
	c := b.plainOre(u.home, "cache", "serve", "--listen", "127.0.0.1:0")
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env, cmd.Dir = c.env, c.dir
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = grace
	if b.account.become {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(b.account.uid), Gid: uint32(b.account.gid)}}
	}
	said := &firstLine{line: make(chan string, 1)}
	cmd.Stdout = said
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case line := <-said.line:
		_, url, ok := strings.Cut(line, " on ")
		if !ok {
			return "", ended, fmt.Errorf("the server said %q", line)
		}
		return url, ended, nil
	case err := <-ended:
		return "", nil, fmt.Errorf("the server ended: %w", err)
	}
}

// firstLine gives the first line that is written to it.
type firstLine struct {
	once sync.Once
	buf  bytes.Buffer
	line chan string
}

// Write implements io.Writer.
func (f *firstLine) Write(b []byte) (int, error) {
	f.buf.Write(b)
	if line, _, whole := strings.Cut(f.buf.String(), "\n"); whole {
		f.once.Do(func() { f.line <- line })
	}
	return len(b), nil
}

// host lets a new host take the old image, then the new one.
func (u *updates) host(ctx context.Context, b *bench, url string, x *upgrade) (int64, error) {
	host := b.home("host")
	defer removeAll(host)
	pull := func(url, key string) error {
		c := b.plainOre(host, "cache", "pull", key, "--cache", url)
		c.env = append(c.env, "ORE_CACHE_TOKEN="+u.secret)
		return b.account.run(ctx, c)
	}
	if err := pull(url, x.images[0].key); err != nil {
		return 0, err
	}
	address, pin, _ := strings.Cut(strings.TrimPrefix(url, "https://"), "#")
	w, err := startWire(address)
	if err != nil {
		return 0, err
	}
	err = pull("https://"+w.address+"#"+pin, x.images[1].key)
	return w.close(), err
}

// wire passes connections on and counts their bytes.
type wire struct {
	address string
	l       net.Listener
	n       atomic.Int64
	group   sync.WaitGroup
}

func startWire(to string) (*wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{l: l, address: l.Addr().String()}
	w.group.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			pass := func(dst, src net.Conn) {
				n, _ := io.Copy(dst, src) // an error is the end of the connection
				w.n.Add(n)
				dst.Close()
				src.Close()
			}
			w.group.Go(func() { pass(out, in) })
			w.group.Go(func() { pass(in, out) })
		}
	})
	return w, nil
}

// close ends the passing and returns the number of bytes.
func (w *wire) close() int64 {
	w.l.Close()
	w.group.Wait()
	return w.n.Load()
}
