package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ore/bench/mirror"
	"ore/image"
	"ore/testbed"
)

// lab is a source with an image, and hosts that have none.
type lab struct {
	settings
	dir    string
	layers []string // the digits of their digests
	image  int64    // their bytes

	bed     *testbed.Bed
	info    testbed.Info
	url     string // of the mirror in the bed
	serving *exec.Cmd
	lease   io.Closer // of serving
}

// The ports that are used in the bed.
const (
	serveRole = "serve"
	servePort = "7402"
	agentPort = "7447"
)

// job is what each machine does: it reads what a job reads first, a shell, its
// libraries and a little of Debian.
const job = "dpkg-query --show | sort | tail -1"

func (l *lab) home() string            { return filepath.Join(l.dir, "home") }
func (l *lab) kit() string             { return filepath.Join(l.dir, "kit") }
func (l *lab) file() string            { return filepath.Join(l.dir, "job.yaml") }
func (l *lab) kept(host string) string { return filepath.Join(l.dir, host) }
func (l *lab) keys(host string) string { return filepath.Join(l.dir, host+".keys") }
func (l *lab) blobs(host string) string {
	return filepath.Join(l.kept(host), "blobs", "sha256")
}

// open makes the image and the bed.
func (l *lab) open(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root: run this as root")
	}
	if l.dir, err = os.MkdirTemp("", "ore-early-"); err != nil {
		return err
	}
	if err := l.build(ctx); err != nil {
		return err
	}
	if l.bed, err = testbed.Up(ctx, testbed.Config{Hosts: l.hosts, Link: int64(l.link * 1e6)}); err != nil {
		return err
	}
	if l.info, err = l.bed.Info(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	address := net.JoinHostPort(l.host(testbed.Head).Address.String(), servePort)
	l.url = "http://" + address
	l.serving = l.bed.Command(context.WithoutCancel(ctx), testbed.Head, self, serveRole, l.pool, address)
	if l.lease, err = ready(l.serving); err != nil {
		l.serving = nil
		return err
	}
	for i := range l.hosts {
		name := fmt.Sprint("h", i+1)
		out, err := l.ore(ctx, testbed.Head, "hosts", "issue", name).Output()
		if err := errors.Join(err, os.WriteFile(l.keys(name), out, 0o600)); err != nil {
			return err
		}
	}
	return nil
}

// build makes the image, from a mirror of this process's.
func (l *lab) build(ctx context.Context) error {
	data := make([]byte, l.size<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	text := "name: early\nenvironment:\n  base: debian/" + mirror.Suite + "\n  files: {/opt/data: {source: ./data}}\n"
	if err := errors.Join(os.WriteFile(filepath.Join(l.dir, "data"), data, 0o644), os.WriteFile(l.file(), []byte(text), 0o644)); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m, err := mirror.Start(ctx, l.pool, listener)
	if err != nil {
		return err
	}
	defer m.Close()
	cmd := exec.CommandContext(ctx, l.program, "build", "--json", "-f", l.file())
	cmd.Env, cmd.Stderr = l.environment(m.URL), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("build the image: %w", err)
	}
	var made image.Manifest
	if err := json.Unmarshal(out, &made); err != nil {
		return err
	}
	l.image = made.Size()
	for _, layer := range made.Layers {
		l.layers = append(l.layers, layer.Digest.Hex())
	}
	return nil
}

func (l *lab) environment(url string) []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + l.dir, "LC_ALL=C.UTF-8", "ORE_HOME=" + l.home(), "ORE_MIRROR=" + url}
}

// ore makes a command of ore's on a host of the bed.
func (l *lab) ore(ctx context.Context, host string, args ...string) *exec.Cmd {
	cmd := l.bed.Command(ctx, host, append([]string{l.program}, args...)...)
	cmd.Env, cmd.Stderr = l.environment(l.url), os.Stderr
	return cmd
}

func (l *lab) host(name string) testbed.Host {
	return l.info.Hosts[slices.IndexFunc(l.info.Hosts, func(h testbed.Host) bool { return h.Name == name })]
}

func (l *lab) close() error {
	var errs []error
	if l.serving != nil {
		l.lease.Close()
		_ = l.serving.Wait() // it ends with the bed in any case
	}
	if l.bed != nil {
		errs = append(errs, l.bed.Down())
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// setKitAside keeps all that the first host got but the image.
func (l *lab) setKitAside(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "cp", "-a", l.blobs("h1"), l.kit()).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the kit: %w: %s", err, out)
	}
	var errs []error
	for _, d := range l.layers {
		errs = append(errs, os.Remove(filepath.Join(l.kit(), d)))
	}
	return errors.Join(errs...)
}

// round has all hosts begin afresh, with the kit or with nothing, and runs the job.
func (l *lab) round(ctx context.Context, words []string, kit bool) (r row, err error) {
	args := []string{"run", "-n", strconv.Itoa(l.hosts), "--memory", "256M", "--hypervisor", "uml", "--network", "isolated",
		"--results", filepath.Join(l.dir, "results"), "--engine", "hosts", "-f", l.file()}
	for i := range l.hosts {
		name := fmt.Sprint("h", i+1)
		at := net.JoinHostPort(l.host(name).Address.String(), agentPort)
		if err := l.furnish(ctx, name, kit); err != nil {
			return r, err
		}
		cmd := l.ore(context.WithoutCancel(ctx), name, "node", "--lease", "--trust", l.keys(name), "--dir", l.kept(name), "--name", name, "--listen", at)
		lease, err := ready(cmd)
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, lease.Close(), cmd.Wait()) }()
		args = append(args, "--host", name+"="+at)
	}
	cmd := l.ore(ctx, testbed.Head, append(append(args, words...), "--", "sh", "-c", job)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	r = row{At: time.Now(), Hosts: l.hosts, Image: l.image, Link: l.link, Load: load()}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	lines := 0
	for s := bufio.NewScanner(out); s.Scan(); {
		lines++
		r.First = time.Since(r.At).Seconds()
	}
	err = cmd.Wait()
	r.End = time.Since(r.At).Seconds()
	r.Before = strings.Contains(said.String(), "need not wait")
	if err != nil || lines != l.hosts {
		return r, fmt.Errorf("%d lines of %d came: %w: %s", lines, l.hosts, err, said.String())
	}
	if os.Getenv("ORE_BENCH_VERBOSE") != "" {
		fmt.Println(said.String())
	}
	return r, nil
}

// furnish makes the folder of a host.
func (l *lab) furnish(ctx context.Context, host string, kit bool) error {
	if err := errors.Join(os.RemoveAll(l.kept(host)), os.MkdirAll(l.blobs(host), 0o755)); err != nil || !kit {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-al", l.kit()+"/.", l.blobs(host)).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the kit: %w: %s", err, out)
	}
	return nil
}

// load is that of the last minute (proc(5), loadavg).
func load() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	word, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(word, 64)
	return v
}

// ready starts a program that says a line when it is ready and ends with its
// input, which is returned.
func ready(cmd *exec.Cmd) (io.Closer, error) {
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
	if _, err := bufio.NewReader(out).ReadBytes('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: said nothing: %w", strings.Join(cmd.Args, " "), err), in.Close(), cmd.Wait())
	}
	return in, nil
}

// serve serves a folder by HTTP until its input ends.
func serve(dir, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	err = errors.Join(err, s.Close())
	if e := <-done; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}
