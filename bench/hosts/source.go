package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ore/bench/mirror"
	"ore/image"
	"ore/testbed"
)

// prepare makes the image as ore does, and the tree as the peers do, from the
// same mirror, before there is a bed.
func (l *lab) prepare(ctx context.Context) (err error) {
	if err := l.inputs(); err != nil {
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
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := l.build(ctx, m.URL); err != nil {
		return err
	}
	if err := l.pack(ctx, m.URL); err != nil {
		return err
	}
	return os.Symlink(l.pool, filepath.Join(l.served(), "mirror"))
}

// here makes a command of the ordinary user's on this host.
func (l *lab) here(ctx context.Context, mirror string, args ...string) (*exec.Cmd, error) {
	uid, err := strconv.ParseUint(l.user.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(l.user.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, l.program(), args...)
	cmd.Env = l.environment(l.home(), mirror)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd, nil
}

// build makes the image, finds what each machine should say, and puts the layers
// where the source serves them.
func (l *lab) build(ctx context.Context, url string) error {
	text := "name: headline\nenvironment:\n  base: debian/" + mirror.Suite + "\n  packages: [" + wanted + "]\n"
	if l.size > 0 {
		text += "  files: {/opt/data: {source: " + l.data() + "}}\n"
	}
	if err := os.WriteFile(l.jobFile(), []byte(text), 0o644); err != nil {
		return err
	}
	cmd, err := l.here(ctx, url, "build", "--json", "-f", l.jobFile())
	if err != nil {
		return err
	}
	out, err := output(cmd)
	if err != nil {
		return err
	}
	var m image.Manifest
	if err := json.Unmarshal(out, &m); err != nil {
		return err
	}
	l.image = m.Size()
	for i, layer := range m.Layers {
		name := fmt.Sprint("layer", i)
		l.layers, l.digests = append(l.layers, name), append(l.digests, layer.Digest.Hex())
		blob := filepath.Join(l.home(), "images", "blobs", "sha256", layer.Digest.Hex())
		if err := os.Link(blob, filepath.Join(l.served(), name)); err != nil {
			return err
		}
	}
	results := filepath.Join(l.dir, "first")
	if cmd, err = l.here(ctx, url, l.request(results, 1)...); err != nil {
		return err
	}
	if _, err := output(cmd); err != nil {
		return err
	}
	answers, err := l.answers(results)
	if err != nil {
		return err
	}
	l.answer = answers[0]
	return os.RemoveAll(results)
}

func (l *lab) data() string { return filepath.Join(l.dir, "data") }

// The search: queries that are parts of a few of the sequences.
const (
	sequences = 200
	residues  = 300
	queries   = 8
)

// inputs makes the inputs of the search and of the image, which are the same at
// each run, and what a peer's machine needs beside its tree.
func (l *lab) inputs() error {
	r := rand.New(rand.NewChaCha8([32]byte{1}))
	var db, query strings.Builder
	for i := range sequences {
		s := make([]byte, residues)
		for k := range s {
			s[k] = "ACDEFGHIKLMNPQRSTVWY"[r.IntN(20)]
		}
		fmt.Fprintf(&db, ">p%d\n%s\n", i, s)
		if i < queries {
			fmt.Fprintf(&query, ">q%d\n%s\n", i, s[residues/6:residues*5/6])
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("%w: install Debian's busybox-static", err)
	}
	if err := errors.Join(
		os.WriteFile(l.input("db.fa"), []byte(db.String()), 0o644),
		os.WriteFile(l.input("query.fa"), []byte(query.String()), 0o644),
		os.WriteFile(l.input("init"), []byte(peerInit), 0o755),
		os.WriteFile(l.input("busybox"), busybox, 0o755),
		os.Mkdir(l.data(), 0o755),
	); err != nil {
		return err
	}
	bytes, block := rand.NewChaCha8([32]byte{2}), make([]byte, 1<<20)
	for i := range l.size {
		_, _ = bytes.Read(block) // it never fails
		if err := os.WriteFile(filepath.Join(l.data(), strconv.Itoa(i)), block, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// packing writes the tree that it makes as one archive: peers copy the smallest
// that they can unpack fast.
const packing = `set -e -o pipefail
mmdebstrap --quiet --mode=root --variant=minbase --include="$1" --dpkgopt=force-unsafe-io "$2" "$3/tree" "deb $4 $2 main"
mkdir -p "$3/tree/opt"
cp -r "$3/data" "$3/tree/opt/"
tar -C "$3/tree" --numeric-owner --one-file-system -cf - . | zstd -q -T0 "-$5" -o "$6.part"
mv "$6.part" "$6"
rm -rf "$3/tree"
`

// pack makes the archive that the peers copy, or takes the one that an earlier
// run has kept.
func (l *lab) pack(ctx context.Context, url string) error {
	here := filepath.Join(l.served(), "image.tar.zst")
	if _, err := output(exec.CommandContext(ctx, "tar", "-C", l.data(), "-cf", filepath.Join(l.served(), "data.tar"), ".")); err != nil {
		return err
	}
	file := cmp.Or(l.archiveFile, here)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if _, err := output(exec.CommandContext(ctx, "bash", "-c", packing, "bash", wanted, mirror.Suite, l.dir, url, strconv.Itoa(l.level), file)); err != nil {
			return err
		}
	}
	if file != here {
		if _, err := output(exec.CommandContext(ctx, "cp", file, here)); err != nil {
			return err
		}
	}
	st, err := os.Stat(here)
	if err != nil {
		return err
	}
	l.archive = st.Size()
	return nil
}

// serveRole is what this program is called with to serve at the source.
const serveRole = "serve"

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

// The ports that are used in the bed.
const (
	servePort = "7402"
	agentPort = "7447"
	chainPort = "7401"
)

// serveAll has the source serve the mirror, the archive and the layers.
func (l *lab) serveAll(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	address := l.info.Hosts[0].Address.String() + ":" + servePort
	l.url = "http://" + address
	l.serving = l.bed.Command(context.WithoutCancel(ctx), testbed.Head, self, serveRole, l.served(), address)
	l.serving.Stderr = os.Stderr
	l.lease, err = ready(l.serving)
	if err != nil {
		l.serving = nil
	}
	return err
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
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(out).ReadBytes('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: said nothing: %w", strings.Join(cmd.Args, " "), err), in.Close(), cmd.Wait())
	}
	return in, nil
}
