package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ore/testbed"
)

// accountName is the ordinary user as whom all of ore runs; bench makes it, too.
const accountName = "orebench"

// wanted is the package that the image is made for.
const wanted = "ncbi-blast+"

// search is what each machine does with the two inputs.
const search = "blastp -query query.fa -subject db.fa -evalue 1e-20 -outfmt 6 >answer"

// lab is a source with an image, and hosts that have none.
type lab struct {
	settings
	dir     string // of all, in memory
	user    *user.User
	image   int64    // bytes of the layers
	archive int64    // bytes of the same tree as the peers copy it
	layers  []string // their names where the source serves them
	digests []string // the same layers' in hexadecimal digits
	answer  []byte   // what each machine should say

	bed     *testbed.Bed
	info    testbed.Info
	url     string // of what the source serves
	serving *exec.Cmd
	lease   io.Closer // of serving
	goods   float64   // bytes a second that one stream gets
}

func (l *lab) program() string        { return filepath.Join(l.dir, "ore") }
func (l *lab) jobFile() string        { return filepath.Join(l.dir, "job.yaml") }
func (l *lab) served() string         { return filepath.Join(l.dir, "served") }
func (l *lab) machine() string        { return filepath.Join(l.dir, "machine") }
func (l *lab) home() string           { return filepath.Join(l.dir, "home") }
func (l *lab) kept(h string) string   { return filepath.Join(l.dir, "hosts", h) }
func (l *lab) input(in string) string { return filepath.Join(l.machine(), in) }

// open makes the image and all that its peers copy. close ends everything.
func open(ctx context.Context, s settings) (_ *lab, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root: run this as root")
	}
	if info, err := os.Stat("/dev/fuse"); err == nil && info.Mode().Perm() != 0o666 {
		return nil, fmt.Errorf("/dev/fuse has mode %o: machines of an ordinary user would wait for whole layers: chmod 666 /dev/fuse, as Debian's udev has it", info.Mode().Perm())
	}
	l := &lab{settings: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.user, err = ordinary(ctx); err != nil {
		return nil, err
	}
	if err := l.folder(); err != nil {
		return nil, err
	}
	return l, l.prepare(ctx)
}

// ordinary returns the user that measures, made if there is none.
func ordinary(ctx context.Context) (*user.User, error) {
	u, err := user.Lookup(accountName)
	if errors.As(err, new(user.UnknownUserError)) {
		if out, err := exec.CommandContext(ctx, "useradd", "--create-home", accountName).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make user %s: %w: %s", accountName, err, out)
		}
		return user.Lookup(accountName)
	}
	return u, err
}

// own makes a path the ordinary user's.
func (l *lab) own(path string) error {
	uid, err := strconv.Atoi(l.user.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(l.user.Gid)
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}

// folder makes the folder of all, in memory, with the program in it. Commands
// begin there, since the ordinary user may not enter the one where this began.
func (l *lab) folder() error {
	dir, err := os.MkdirTemp("", "ore-hosts-")
	if err != nil {
		return err
	}
	if err := unix.Mount("ore-hosts", dir, "tmpfs", 0, "mode=755,size=80%"); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	l.dir = dir
	text, err := os.ReadFile(l.ore)
	if err != nil {
		return fmt.Errorf("%w: build it with make", err)
	}
	for _, d := range []string{l.served(), l.machine(), l.home(), l.kept("")} {
		if err := errors.Join(os.Mkdir(d, 0o755), l.own(d)); err != nil {
			return err
		}
	}
	return errors.Join(os.WriteFile(l.program(), text, 0o755), os.WriteFile(filepath.Join(dir, "site.yaml"), []byte("hedge: false\n"), 0o644),
		l.own(dir), os.Chdir(dir))
}

func (l *lab) close() error {
	errs := []error{l.down(), os.Chdir("/")}
	if l.dir != "" {
		errs = append(errs, unix.Unmount(l.dir, unix.MNT_DETACH), os.Remove(l.dir))
	}
	return errors.Join(errs...)
}

// environment is that of ore with its state in home.
func (l *lab) environment(home, mirror string) []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + l.dir, "LC_ALL=C.UTF-8", "ORE_HOME=" + home,
		"ORE_MIRROR=" + mirror, "ORE_CONFIG=" + filepath.Join(l.dir, "site.yaml")}
}

// output runs a command and returns what it printed, or what it complained of.
func output(cmd *exec.Cmd) ([]byte, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		const most = 2000
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(said.Bytes()[max(0, said.Len()-most):]))
	}
	return out.Bytes(), nil
}

// up makes the bed, has the source serve, and looks what its link carries.
func (l *lab) up(ctx context.Context) (err error) {
	if l.bed, err = testbed.Up(ctx, testbed.Config{Hosts: l.hosts, Link: int64(l.link * mega)}); err != nil {
		return err
	}
	if l.info, err = l.bed.Info(); err != nil {
		return err
	}
	if err := l.serveAll(ctx); err != nil {
		return err
	}
	if err := l.introduce(ctx); err != nil {
		return err
	}
	if l.rate > 0 {
		if err := l.bed.Shape(ctx, testbed.Head, int64(l.rate*mega)); err != nil {
			return err
		}
	}
	rates, err := l.bed.Check(ctx)
	if err != nil {
		return err
	}
	l.goods = rates[0].Bits / 8
	return nil
}

// down ends the bed.
func (l *lab) down() error {
	if l.bed == nil {
		return nil
	}
	if l.serving != nil {
		l.lease.Close()
		_ = l.serving.Wait() // it ends with the bed in any case
	}
	err := l.bed.Down()
	l.bed = nil
	return err
}

// host returns the i-th host, from 1.
func (l *lab) host(i int) testbed.Host {
	name := fmt.Sprint("h", i)
	return l.info.Hosts[slices.IndexFunc(l.info.Hosts, func(h testbed.Host) bool { return h.Name == name })]
}
