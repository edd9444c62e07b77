package configure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"ore"
)

// person is a line of passwd(5).
type person struct {
	uid, gid int
	home     string
}

// find looks an account up in the tree.
func (s *setup) find(name string) (p person, found bool, err error) {
	b, err := s.root.ReadFile("etc/passwd")
	if err != nil {
		return p, false, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) != 7 || f[0] != name {
			continue
		}
		uid, err1 := strconv.Atoi(f[2])
		gid, err2 := strconv.Atoi(f[3])
		return person{uid, gid, f[5]}, true, errors.Join(err1, err2)
	}
	return p, false, nil
}

func (s *setup) users(ctx context.Context) error {
	for _, u := range s.Recipe.System.Users {
		if err := s.user(ctx, u); err != nil {
			return fmt.Errorf("user %s: %w", u.Name, err)
		}
	}
	return nil
}

// user makes an account, or makes one that is there what it should be.
func (s *setup) user(ctx context.Context, u ore.User) error {
	p, there, err := s.find(u.Name)
	if err != nil {
		return err
	}
	if argv := account(u, there); argv != nil {
		if err := s.call(ctx, "", argv...); err != nil {
			return err
		}
		if p, there, err = s.find(u.Name); err == nil && !there {
			err = errors.New("useradd did not make it: see whether package passwd is whole")
		}
		if err != nil {
			return err
		}
	}
	if u.Password != "" { // by standard input: a command line is for all to read
		if err := s.call(ctx, u.Name+":"+u.Password+"\n", "chpasswd", "-e"); err != nil {
			return err
		}
	}
	if len(u.Keys) == 0 {
		return nil
	}
	return s.authorise(p, u.Keys)
}

// account returns the command that makes or changes an account, nil for none.
func account(u ore.User, there bool) []string {
	var argv []string
	option := func(name, value string) {
		if value != "" {
			argv = append(argv, name, value)
		}
	}
	option("-c", u.Gecos)
	if u.UID != 0 {
		option("-u", strconv.Itoa(u.UID))
	}
	shell := u.Shell
	if shell == "" && !there {
		shell = "/bin/bash"
	}
	option("-s", shell)
	if len(u.Groups) > 0 {
		if there {
			argv = append(argv, "-a")
		}
		option("-G", strings.Join(u.Groups, ","))
	}
	switch {
	case !there:
		return append(append([]string{"useradd", "-m"}, argv...), u.Name)
	case len(argv) > 0:
		return append(append([]string{"usermod"}, argv...), u.Name)
	}
	return nil
}

// authorise lets the holders of keys in. The folder and the file belong to the
// account, and nobody else may write to them (sshd(8), "FILES").
func (s *setup) authorise(p person, keys []string) error {
	home := strings.Trim(p.home, "/")
	if home == "" {
		return errors.New("its home is /: give it another")
	}
	dir := home + "/.ssh"
	if err := s.root.MkdirAll(home, 0o755); err != nil {
		return err
	}
	if err := s.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	file := dir + "/authorized_keys"
	if err := s.put(file, 0o600, strings.Join(keys, "\n")+"\n"); err != nil {
		return err
	}
	for _, name := range []string{dir, file} {
		if err := s.root.Lchown(name, p.uid, p.gid); err != nil {
			return err
		}
	}
	return nil
}
