package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// traces lists all of a user's that should not outlive a job: processes, mounts,
// sockets, what lies below ORE_HOME/run, and files in the folders for temporary
// ones.
func (p *person) traces(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, look := range []func() ([]string, error){p.processes, p.mounts, p.sockets, p.files} {
		found, err := look()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	slices.Sort(all)
	return all
}

// processes finds those of the user, and those that carry the user's ORE_HOME.
func (p *person) processes() ([]string, error) {
	list, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range list {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		info, err := os.Stat(dir)
		if err != nil {
			continue // ended meanwhile
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil, fmt.Errorf("%s: no owner", dir)
		}
		env, _ := os.ReadFile(filepath.Join(dir, "environ")) // empty for a process that ends
		if !p.owns(st.Uid) && !bytes.Contains(env, []byte("ORE_HOME="+p.home+"\x00")) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if len(line) == 0 {
			continue // it has no memory any more: it ends, and has let go of all that others see
		}
		state, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		if i := bytes.LastIndexByte(state, ')'); i < 0 || bytes.HasPrefix(state[i:], []byte(") Z")) {
			continue // dead; whoever is its parent has not asked yet
		}
		all = append(all, fmt.Sprintf("process %s", bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
	}
	return all, nil
}

func (p *person) mounts() ([]string, error) {
	b, err := os.ReadFile("/proc/self/mounts")
	return containing("mount ", string(b), p.home), err
}

func (p *person) sockets() ([]string, error) {
	b, err := os.ReadFile("/proc/net/unix")
	return containing("socket ", string(b), p.home), err
}

func containing(what, text, part string) []string {
	var all []string
	for _, line := range strings.Split(text, "\n") {
		if strings.Contains(line, part) {
			all = append(all, what+line)
		}
	}
	return all
}

func (p *person) files() ([]string, error) {
	all, err := below(filepath.Join(p.home, "run"))
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"/dev/shm", os.TempDir(), "/var/tmp"} {
		list, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			info, err := e.Info()
			if err != nil {
				continue // removed meanwhile
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok && p.owns(st.Uid) {
				all = append(all, "file "+filepath.Join(dir, e.Name()))
			}
		}
	}
	for _, dir := range []string{"images/partial", "cache/install/work", "cache/shelf/new"} {
		left, err := below(filepath.Join(p.home, dir))
		if err != nil {
			return nil, err
		}
		all = append(all, left...)
	}
	return all, nil
}

// below lists what a folder holds.
func below(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []string
	for _, e := range list {
		all = append(all, "file "+filepath.Join(dir, e.Name()))
	}
	return all, err
}

// release ends nothing: what runs after the tests is a fault, which it reports.
func (p *person) release() error {
	left, err := p.processes()
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("still running: %s", strings.Join(left, ", "))
	}
	return err
}
