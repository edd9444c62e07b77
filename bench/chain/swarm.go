package main

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// pieceLength is what hosts of a swarm tell each other that they have: small
// enough that a piece is passed on while others come.
const pieceLength = 256 << 10

// The ports of the swarm.
const (
	trackerPort = "7404"
	swarmPort   = "6881"
)

// doneHook is what aria2 calls when it has a whole file, with its path last.
const doneHook = "#!/bin/sh\n: >\"$3.done\"\n"

// aria2 is a swarm with a tracker at the source: all hosts keep giving until the
// last has the blob.
func (b *bench) aria2(ctx context.Context, n int) (record, error) {
	if err := errors.Join(b.fresh(), os.RemoveAll(b.file+".done")); err != nil {
		return record{}, err
	}
	torrent, hook := filepath.Join(b.place(0), "blob.torrent"), filepath.Join(b.place(0), "done")
	if err := errors.Join(b.writeTorrent(torrent), os.WriteFile(hook, []byte(doneHook), 0o700)); err != nil {
		return record{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return record{}, err
	}
	tracker, err := spawn(in(ctx, 0, self, "tracker", address(0)+":"+trackerPort))
	if err != nil {
		return record{}, err
	}
	defer tracker.end()
	swarming, stop := context.WithCancel(ctx)
	member := func(host int, dir string) *exec.Cmd {
		return in(swarming, host, "aria2c", "--quiet", "--no-conf", "--dir="+dir, "--check-integrity=true", "--file-allocation=none", "--disk-cache=64M",
			"--seed-ratio=0.0", "--listen-port="+swarmPort, "--bt-tracker-interval=1", "--bt-max-peers=0", "--bt-request-peer-speed-limit=1000M",
			"--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--bt-min-crypto-level=plain", "--max-upload-limit=0",
			"--on-bt-download-complete="+hook, torrent)
	}
	cmds := []*exec.Cmd{member(0, filepath.Dir(b.file))}
	defer func() {
		stop()
		for _, c := range cmds {
			c.Wait() // it was killed
		}
	}()
	if err := cmds[0].Start(); err != nil {
		stop()
		cmds = nil
		return record{}, err
	}
	if err := finished(ctx, b.file); err != nil {
		return record{}, fmt.Errorf("the first seed: %w", err)
	}
	begun := time.Now()
	for i := 1; i <= n; i++ {
		c := member(i, b.place(i))
		if err := c.Start(); err != nil {
			return record{}, err
		}
		cmds = append(cmds, c)
	}
	for i := 1; i <= n; i++ {
		if err := finished(ctx, filepath.Join(b.place(i), "blob")); err != nil {
			return record{}, fmt.Errorf("host %d: %w", i, err)
		}
	}
	return record{Seconds: time.Since(begun).Seconds()}, b.whole(n)
}

// looking is how often is asked whether a host has all: little beside what is
// timed.
const looking = 10 * time.Millisecond

// finished waits until the hook was called for a file.
func finished(ctx context.Context, file string) error {
	t := time.NewTicker(looking)
	defer t.Stop()
	for {
		if _, err := os.Stat(file + ".done"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// writeTorrent describes the blob for a swarm (BEP 3, metainfo files).
func (b *bench) writeTorrent(name string) error {
	f, err := os.Open(b.file)
	if err != nil {
		return err
	}
	defer f.Close()
	var pieces []byte
	for at := int64(0); at < b.size; at += pieceLength {
		h := sha1.New()
		if _, err := io.Copy(h, io.NewSectionReader(f, at, pieceLength)); err != nil {
			return err
		}
		pieces = h.Sum(pieces)
	}
	announce := "http://" + address(0) + ":" + trackerPort + "/announce"
	text := fmt.Appendf(nil, "d8:announce%d:%s4:infod6:lengthi%de4:name4:blob12:piece lengthi%de6:pieces%d:", len(announce), announce, b.size, pieceLength, len(pieces))
	return os.WriteFile(name, append(append(text, pieces...), "ee"...), 0o600)
}

// tracker tells the members of a swarm of each other (BEP 3, trackers; BEP 23).
type tracker struct {
	mu   sync.Mutex // guards what follows
	seen map[string]bool
	all  []byte // six bytes each: address and port
}

// beTracker tracks one swarm at args[0] until its input ends.
func beTracker(_ context.Context, args []string) error {
	return serveUntilEnd(args[0], &tracker{seen: map[string]bool{}})
}

func (t *tracker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	port, err2 := strconv.ParseUint(r.FormValue("port"), 10, 16)
	ip := net.ParseIP(host).To4()
	if err != nil || err2 != nil || ip == nil {
		http.Error(w, "not a member's question", http.StatusBadRequest)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.seen[host] {
		t.seen[host] = true
		t.all = append(append(t.all, ip...), byte(port>>8), byte(port))
	}
	fmt.Fprintf(w, "d8:intervali1e5:peers%d:%se", len(t.all), t.all)
}
