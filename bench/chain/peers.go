package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

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
	return record{Seconds: time.Since(begun).Seconds()}, errors.Join(err, b.whole(n))
}

// star has all hosts fetch from the source by HTTP.
func (b *bench) star(ctx context.Context, n int) (record, error) {
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
	for i := 1; i <= n; i++ {
		gets = append(gets, in(ctx, i, self, "get", "http://"+address(0)+":7402/blob", filepath.Join(b.place(i), "blob")))
	}
	begun := time.Now()
	wait, err := group(gets)
	if err != nil {
		return record{}, err
	}
	err = wait()
	return record{Seconds: time.Since(begun).Seconds()}, errors.Join(err, b.whole(n))
}

// rsyncConfig is that of a daemon at the source: its own protocol, without ssh,
// is what costs it least.
const rsyncConfig = `use chroot = no
uid = 0
gid = 0
[blob]
path = %s
read only = yes
`

// rsync has all hosts fetch from the source's daemon, which sends whole files:
// nobody has anything to compare with.
func (b *bench) rsync(ctx context.Context, n int) (record, error) {
	if err := b.fresh(); err != nil {
		return record{}, err
	}
	config := filepath.Join(b.place(0), "rsyncd.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, rsyncConfig, filepath.Dir(b.file)), 0o600); err != nil {
		return record{}, err
	}
	serving, stop := context.WithCancel(ctx)
	daemon := in(serving, 0, "rsync", "--daemon", "--no-detach", "--config="+config, "--address="+address(0), "--port=7403")
	if err := daemon.Start(); err != nil {
		stop()
		return record{}, err
	}
	defer daemon.Wait() // it was killed
	defer stop()
	if err := b.listening(ctx, 0, "tcp", "7403"); err != nil {
		return record{}, err
	}
	var gets []*exec.Cmd
	for i := 1; i <= n; i++ {
		gets = append(gets, in(ctx, i, "rsync", "--whole-file", fmt.Sprintf("rsync://%s:7403/blob/blob", address(0)), filepath.Join(b.place(i), "blob")))
	}
	return b.together(gets, n)
}

// together times commands that run side by side.
func (b *bench) together(cmds []*exec.Cmd, n int) (record, error) {
	begun := time.Now()
	wait, err := group(cmds)
	if err != nil {
		return record{}, err
	}
	err = wait()
	return record{Seconds: time.Since(begun).Seconds()}, errors.Join(err, b.whole(n))
}

// listening waits until a host listens at a port.
func (b *bench) listening(ctx context.Context, host int, protocol, port string) error {
	for out := []byte(nil); len(out) == 0; {
		var err error
		if out, err = in(ctx, host, "ss", "-Hanl", "-A", protocol, "sport = :"+port).Output(); err != nil {
			return fmt.Errorf("ask whether host %d listens: %w", host, err)
		}
	}
	return nil
}

// udpcast is multicast with acknowledgements, as fast as it finds it can.
func (b *bench) udpcast(ctx context.Context, n int) (record, error) {
	return b.multicast(ctx, n)
}

func (b *bench) udpcastCapped(ctx context.Context, n int) (record, error) {
	return b.multicast(ctx, n, "--max-bitrate", fmt.Sprintf("%.0fk", b.rate*1000*b.share))
}

// udpcastPort is where udp-receiver listens (udp-receiver(1), --portbase).
const udpcastPort = "9000"

func (b *bench) multicast(ctx context.Context, n int, more ...string) (record, error) {
	if err := b.fresh(); err != nil {
		return record{}, err
	}
	var receivers []*exec.Cmd
	for i := 1; i <= n; i++ {
		receivers = append(receivers, in(ctx, i, "udp-receiver", "--interface", "eth0", "--portbase", udpcastPort, "--nokbd",
			"--exit-wait", "20", "--file", filepath.Join(b.place(i), "blob")))
	}
	wait, err := group(receivers)
	if err != nil {
		return record{}, err
	}
	for i := 1; i <= n; i++ {
		if err := b.listening(ctx, i, "udp", udpcastPort); err != nil {
			return record{}, errors.Join(err, wait())
		}
	}
	// The sender begins once it has heard of all.
	args := append([]string{"udp-sender", "--interface", "eth0", "--portbase", udpcastPort, "--nokbd", "--full-duplex", "--min-receivers", fmt.Sprint(n), "--file", b.file}, more...)
	begun := time.Now()
	send := output(in(ctx, 0, args...))
	err = errors.Join(send, wait())
	return record{Seconds: time.Since(begun).Seconds()}, errors.Join(err, b.whole(n))
}

// output runs a command, whose error has what it said.
func output(cmd *exec.Cmd) error {
	said, err := cmd.CombinedOutput()
	if err != nil {
		const most = 500
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args[4:], " "), err, said[max(0, len(said)-most):])
	}
	return nil
}

// uftpPort is where uftpd listens (uftpd(1), -p).
const uftpPort = "1044"

// uftpID is what a receiver is called, so that the sender knows whom to wait for.
func uftpID(host int) string { return fmt.Sprintf("0x%08X", host) }

// uftp is multicast at a rate that it is told, with later passes for what was
// lost.
func (b *bench) uftp(ctx context.Context, n int) (record, error) {
	if err := b.fresh(); err != nil {
		return record{}, err
	}
	receiving, stop := context.WithCancel(ctx)
	var receivers []*exec.Cmd
	var names []string
	for i := 1; i <= n; i++ {
		receivers = append(receivers, in(receiving, i, "uftpd", "-d", "-q", "-B", uftpBuffer, "-I", "eth0", "-p", uftpPort, "-U", uftpID(i), "-D", b.place(i)))
		names = append(names, uftpID(i))
	}
	wait, err := group(receivers)
	if err != nil {
		stop()
		return record{}, err
	}
	defer wait() // they were killed
	defer stop()
	for i := 1; i <= n; i++ {
		if err := b.listening(ctx, i, "udp", uftpPort); err != nil {
			return record{}, err
		}
	}
	send := in(ctx, 0, "uftp", "-R", fmt.Sprintf("%.0f", b.rate*1000*b.share), "-B", uftpBuffer, "-I", "eth0", "-p", uftpPort,
		"-H", strings.Join(names, ","), "-q", filepath.Base(b.file))
	send.Dir = filepath.Dir(b.file) // receivers refuse absolute names
	begun := time.Now()
	err = output(send)
	return record{Seconds: time.Since(begun).Seconds()}, errors.Join(err, b.whole(n))
}

// uftpBuffer is more than what comes while a receiver waits for a core, as far
// as the kernel allows.
const uftpBuffer = "4194304"
