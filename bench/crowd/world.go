package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/image"
	"ore/squashfs"
)

// makeImages makes one image for each environment: a layer of bytes that no
// compressor makes smaller.
func (c *crowd) makeImages(ctx context.Context) error {
	var err error
	if c.have, err = image.OpenStore(filepath.Join(c.dir, "built")); err != nil {
		return err
	}
	for i := range c.environments {
		name := fmt.Sprintf("package-%d", i)
		env := ore.Environment{Version: ore.EnvironmentVersion, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Arch: "amd64"}
		env.Packages = []ore.Package{{Name: name, Version: "1", Arch: "amd64", Size: int64(c.size), Digest: ore.DigestOf([]byte(name)), Base: true}}
		d, n, err := c.have.Put(ctx, func(f *os.File) error { return layer(f, c.size, uint64(i)) })
		if err != nil {
			return err
		}
		key := env.Key()
		c.images = append(c.images, image.Manifest{
			Version: image.ManifestVersion, Key: key, Environment: env, Tree: ore.DigestOf([]byte(key)),
			Layers: []image.Layer{{Digest: d, Size: n, Compression: "zstd", Key: key}},
		})
	}
	return nil
}

// layer writes a layer of one file.
func layer(f *os.File, size int, seed uint64) error {
	w, err := squashfs.NewWriter(f, squashfs.Options{})
	if err != nil {
		return err
	}
	defer w.Abort()
	content := make([]byte, size)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	if _, err := rand.NewChaCha8(key).Read(content); err != nil {
		return err
	}
	if err := w.Add(squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil); err != nil {
		return err
	}
	if err := w.Add(squashfs.Entry{Path: "content", Mode: 0o644, Size: int64(size)}, bytes.NewReader(content)); err != nil {
		return err
	}
	return w.Close()
}

// server is a cache that is served by a process.
type server struct {
	url, token string
	process    *exec.Cmd
}

// serve starts a cache in dir.
func serve(ctx context.Context, program, dir string) (*server, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	env := append(os.Environ(), "ORE_HOME="+dir)
	add := exec.CommandContext(ctx, program, "cache", "token", "add", "crowd", "--namespace", "lab", "--write")
	add.Env = env
	token, err := add.Output()
	if err != nil {
		return nil, fmt.Errorf("add a token: %w", err)
	}
	s := &server{token: strings.TrimSpace(string(token))}
	s.process = exec.Command(program, "cache", "serve", "--listen", "127.0.0.1:0")
	s.process.Env, s.process.Stderr = env, os.Stderr
	out, err := s.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_, url, ok := strings.Cut(strings.TrimSpace(line), " on ")
	if err != nil || !ok {
		_, e := s.close()
		return nil, fmt.Errorf("the server said %q: %w, %w", line, err, e)
	}
	s.url = url
	return s, nil
}

// grace is how long the server may take to end.
const grace = 20 * time.Second

// close interrupts the server and returns the processor time that it used.
func (s *server) close() (time.Duration, error) {
	if err := s.process.Process.Signal(syscall.SIGINT); err != nil {
		return 0, err
	}
	late := time.AfterFunc(grace, func() { s.process.Process.Kill() })
	err := s.process.Wait()
	late.Stop()
	p := s.process.ProcessState
	return p.UserTime() + p.SystemTime(), err
}

// ownCPU is the processor time of this process so far.
func ownCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
