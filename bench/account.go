package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// accountName is the ordinary user that measures for root.
const accountName = "orebench"

// account is the ordinary user as whom everything runs that needs no root.
type account struct {
	uid, gid int
	become   bool // this process is root, and becomes the user for each command
}

// findAccount returns this user, or for root the account that measures, which
// is made if it does not exist, with subordinate ids as Debian gives them.
func findAccount(ctx context.Context) (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{uid: uid, gid: os.Getegid()}, nil
	}
	u, err := user.Lookup(accountName)
	if errors.As(err, new(user.UnknownUserError)) {
		if out, err := exec.CommandContext(ctx, "useradd", "--create-home", accountName).CombinedOutput(); err != nil {
			return account{}, fmt.Errorf("make user %s: %w: %s", accountName, err, out)
		}
		u, err = user.Lookup(accountName)
	}
	if err != nil {
		return account{}, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return account{}, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return account{uid: uid, gid: gid, become: true}, err
}

// own makes path the account's.
func (a account) own(path string, mode os.FileMode) error {
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return os.Chown(path, a.uid, a.gid)
}

// mkdir makes a folder of the account's.
func (a account) mkdir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return a.own(path, 0o755)
}

// command is one run of a program, and what came of it.
type command struct {
	args []string
	env  []string
	dir  string
	root bool // as this process, not as the account

	out, err bytes.Buffer
	pid      int
	took     time.Duration
	cpu      time.Duration // of the program and of all its descendants that were waited for
}

// grace is how long an interrupted program may take to end.
const grace = 20 * time.Second

// run runs c and times it.
func (a account) run(ctx context.Context, c *command) error {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=" + c.dir}, c.env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, &c.out, &c.err
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = grace
	if a.become && !c.root {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}}
	}
	begun := time.Now()
	err := cmd.Run()
	c.took = time.Since(begun)
	if s := cmd.ProcessState; s != nil {
		c.cpu = s.UserTime() + s.SystemTime()
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(c.args, " "), err, tail(c.err.String()))
	}
	return nil
}

// tail returns the end of what a program said.
func tail(s string) string {
	const most = 2000
	return strings.TrimSpace(s[max(0, len(s)-most):])
}

// removeAll removes a folder. What belongs to subordinate ids goes with the
// help of a namespace that has them, where this process is not root.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if errors.Is(err, os.ErrPermission) && os.Geteuid() != 0 {
		out, e := exec.Command("unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", dir).CombinedOutput()
		if e != nil {
			return fmt.Errorf("remove %s: %w: %s", dir, e, out)
		}
		return nil
	}
	return err
}
