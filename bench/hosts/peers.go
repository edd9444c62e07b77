package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ore/bench/mirror"
	"ore/testbed"
)

// peerInit is the first process of a peer's machine.
const peerInit = `#!/bin/sh
mount -t proc proc /proc
cd /bench
` + search + ` 2>errors
exec ./busybox poweroff -f
`

// peerMachine is how a peer starts a machine on a tree: the kernel's own file
// system of the host's files, so that no disk is made; none of the drivers'
// waits that can be left out; and the program that searches as first process.
const peerMachine = `set -e -o pipefail
dir=$1 files=$2 url=$3
machine() {
	mkdir -p "$1/bench"
	cp "$files"/* "$1/bench/"
	linux.uml mem=256M uml_dir="$dir" root=/dev/root rootfstype=hostfs rootflags="$1" rw init=/bench/init \
		con=null con0=null,fd:1 quiet initcall_blacklist=raid6_select_algo pty.legacy_count=0 </dev/null >"$dir/console" 2>&1 || :
	cp "$1/bench/answer" "$dir/answer"
}
`

// The ways of the peers to a tree.
const (
	installing = peerMachine + `export TMPDIR=$dir
mmdebstrap --quiet --mode=root --variant=minbase --include="$4" --dpkgopt=force-unsafe-io "$5" "$dir/tree" "deb $url/mirror $5 main"
if [ "$6" -gt 0 ]; then mkdir -p "$dir/tree/opt/data"; curl -fsS "$url/data.tar" | tar -C "$dir/tree/opt/data" -xf -; fi
machine "$dir/tree"
`
	unpacking = peerMachine + `mkdir "$dir/tree"
curl -fsS "$url/image.tar.zst" | zstd -dcq | tar -C "$dir/tree" --numeric-owner -xpf -
machine "$dir/tree"
`
	mounting = peerMachine + `shift 3
lower=
for layer; do
	curl -fsS -o "$dir/$layer" "$url/$layer"
	mkdir "$dir/$layer.tree"
	mount -t squashfs -o loop,ro "$dir/$layer" "$dir/$layer.tree"
	lower=$dir/$layer.tree${lower:+:$lower}
done
mkdir "$dir/upper" "$dir/work" "$dir/tree"
mount -t overlay -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work" overlay "$dir/tree"
machine "$dir/tree"
umount "$dir/tree"
for layer; do umount "$dir/$layer.tree"; done
`
	// Each host unpacks while it passes on; the last one passes nothing on.
	chaining = peerMachine + `port=$4 next=$5
mkdir "$dir/tree"
unpack() { zstd -dcq | tar -C "$dir/tree" --numeric-owner -xpf -; }
if [ -z "$next" ]; then
	nc -l "$port" | unpack
else
	mkfifo "$dir/pipe"
	unpack <"$dir/pipe" &
	nc -l "$port" | tee "$dir/pipe" | nc -N "$next" "$port"
	wait $!
fi
machine "$dir/tree"
`
)

// install has each host install from the mirror at the source.
func (l *lab) install(ctx context.Context, n int) (row, error) {
	return l.peers(ctx, n, installing, func(int) []string { return []string{wanted, mirror.Suite, fmt.Sprint(l.size)} }, nil)
}

// star has each host fetch the archive from the source, and unpack it meanwhile.
func (l *lab) star(ctx context.Context, n int) (row, error) {
	return l.peers(ctx, n, unpacking, nothing, nil)
}

// mount has each host fetch our layers from the source and mount them.
func (l *lab) mount(ctx context.Context, n int) (row, error) {
	return l.peers(ctx, n, mounting, func(int) []string { return l.layers }, nil)
}

// chain has hosts pass the archive on, and unpack it meanwhile.
func (l *lab) chain(ctx context.Context, n int) (row, error) {
	next := func(i int) []string {
		if i == n {
			return []string{chainPort, ""}
		}
		return []string{chainPort, l.host(i + 1).Address.String()}
	}
	send := fmt.Sprintf("exec nc -N %s %s <%s", l.host(1).Address, chainPort, filepath.Join(l.served(), "image.tar.zst"))
	return l.peers(ctx, n, chaining, next, l.bed.Command(ctx, testbed.Head, "sh", "-c", send))
}

func nothing(int) []string { return nil }

// peers runs a script on the first n hosts, with further arguments for each. If
// there is something to send, the hosts wait for it: they are started one after
// the other from the last, which takes no part of the time, since each connects
// to the next at once.
func (l *lab) peers(ctx context.Context, n int, script string, more func(int) []string, send *exec.Cmd) (row, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // where one host fails, others would wait for it
	cmds := make([]*exec.Cmd, n)
	for i := range n {
		h := l.host(i + 1)
		dir := l.kept(h.Name)
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
			return row{}, err
		}
		cmds[i] = l.bed.Command(ctx, h.Name, append([]string{"bash", "-c", script, "bash", dir, l.machine(), l.url}, more(i+1)...)...)
	}
	before, err := l.bed.Sent(testbed.Head)
	if err != nil {
		return row{}, err
	}
	if send != nil {
		if err := l.listen(ctx, cmds); err != nil {
			return row{}, err
		}
	}
	c := startClock()
	ended := make(chan error, n+1)
	for i, cmd := range cmds {
		go func() {
			_, err := l.finish(cmd, send != nil)
			if err != nil {
				err = fmt.Errorf("host %d: %w", i+1, err)
			}
			ended <- err
		}()
	}
	if send != nil {
		go func() {
			_, err := output(send)
			ended <- err
		}()
		n++
	}
	var errs []error
	for range n {
		err := <-ended
		if errs = append(errs, err); err != nil {
			cancel()
		}
	}
	r := c.end()
	if err := errors.Join(errs...); err != nil {
		return r, err
	}
	after, err := l.bed.Sent(testbed.Head)
	r.Sent = after - before
	return r, errors.Join(err, l.gather(len(cmds)))
}

// finish waits for a command, or runs it.
func (l *lab) finish(cmd *exec.Cmd, started bool) ([]byte, error) {
	if !started {
		return output(cmd)
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, cmd.Stderr)
	}
	return nil, nil
}

// listen starts commands that listen, from the last to the first.
func (l *lab) listen(ctx context.Context, cmds []*exec.Cmd) error {
	for i := len(cmds) - 1; i >= 0; i-- {
		cmds[i].Stderr = new(strings.Builder)
		if err := cmds[i].Start(); err != nil {
			return err
		}
		for out := []byte(nil); len(out) == 0; {
			var err error
			if out, err = output(l.bed.Command(ctx, l.host(i+1).Name, "ss", "-ltnH", "sport = :"+chainPort)); err != nil {
				return err
			}
		}
	}
	return nil
}

// gather checks the answers of the first n hosts, and removes all that the arm
// left, so that the next has the memory.
func (l *lab) gather(n int) error {
	var all [][]byte
	for i := range n {
		dir := l.kept(l.host(i + 1).Name)
		text, err := os.ReadFile(filepath.Join(dir, "answer"))
		if err != nil {
			console, _ := os.ReadFile(filepath.Join(dir, "console"))
			return fmt.Errorf("host %d: %w: its machine said %.2000s", i+1, err, console)
		}
		all = append(all, text)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return l.check(all, n)
}
