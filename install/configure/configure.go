package configure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"ore"
	"ore/install/disk"
	"ore/install/fit"
	"ore/install/recipe"
)

// Options say what is configured, and for whom.
type Options struct {
	Target string // where the tree is; all file systems of Layout are mounted there
	Recipe recipe.Recipe
	Layout disk.Layout
	Watch  ore.Watcher // stage "configure": what is being done

	// Command runs a program in the tree and returns what it said; nil is how it
	// is done. Standard input comes as a text.
	Command func(ctx context.Context, argv []string, in string) ([]byte, error)
}

// setup is one way through Apply.
type setup struct {
	Options
	root *os.Root
	now  ore.Event // the step that is being done
}

// stage is the name of what is done here, for those who watch.
const stage = "configure"

// Apply configures the tree. It must be root. What it mounts in the tree while
// programs run is unmounted when it returns.
func Apply(ctx context.Context, o Options) (err error) {
	r, err := os.OpenRoot(o.Target)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	defer r.Close()
	s := &setup{Options: o, root: r}
	if err := s.check(); err != nil {
		return err
	}
	if o.Command == nil {
		release, err := enter(o.Target)
		if err != nil {
			return fmt.Errorf("configure: %w", err)
		}
		defer func() { err = errors.Join(err, release()) }()
		s.Command = s.run
	}
	steps := []struct {
		does string
		do   func(context.Context) error
	}{
		{"file systems", s.fileSystems}, {"name", s.name}, {"identities", s.identities}, {"time zone", s.zone},
		{"language", s.locale}, {"network", s.network}, {"users", s.users}, {"boot loader", s.loader},
	}
	for i, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.now = ore.Event{Stage: stage, Text: step.does, Done: int64(i), Total: int64(len(steps))}
		s.Watch.Tell(s.now)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("configure %s: %w", step.does, err)
		}
	}
	s.Watch.Tell(ore.Event{Stage: stage, Done: int64(len(steps)), Total: int64(len(steps)), Final: true})
	return nil
}

// check says what the environment lacks, before anything is changed.
func (s *setup) check() error {
	y := s.Recipe.System
	var lacks []string
	need := func(wanted bool, file, pkg string) {
		if wanted && !s.has(file) {
			lacks = append(lacks, pkg)
		}
	}
	need(len(y.Users) > 0, "usr/sbin/useradd", "passwd")
	need(s.generated() != "", "usr/sbin/locale-gen", "locales")
	need(y.TimeZone != "", "usr/share/zoneinfo", "tzdata")
	need(y.Loader == ore.GRUB, "usr/sbin/grub-install", "grub2-common")
	need(y.Loader == ore.GRUB && y.Firmware == ore.BIOS, "usr/lib/grub/i386-pc", "grub-pc")
	need(y.Loader == ore.GRUB && y.Firmware == ore.UEFI, "usr/lib/grub/x86_64-efi", "grub-efi-amd64")
	need(y.Loader == ore.GRUB, "usr/sbin/update-initramfs", "initramfs-tools")
	need(y.Loader == ore.GRUB && len(s.Layout.Arrays) > 0, "usr/sbin/mdadm", "mdadm")
	need(y.Loader == ore.GRUB && len(s.Layout.Groups) > 0, "usr/sbin/lvm", "lvm2")
	if y.Loader == ore.GRUB && len(s.kernels()) == 0 {
		lacks = append(lacks, "linux-image-amd64")
	}
	if len(lacks) > 0 {
		return recipe.Fault{Err: fmt.Errorf("configure: the environment lacks %s: add them to the job's packages", strings.Join(lacks, ", "))}
	}
	if z := y.TimeZone; z != "" && !s.has("usr/share/zoneinfo/"+z) {
		return fmt.Errorf("configure: %w", fit.NoZone(z))
	}
	b, err := s.root.ReadFile("etc/group")
	if err == nil {
		err = fit.Groups(y.Users, b)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("configure: %w", err)
	}
	return nil
}

// has says whether the tree has a name; both ways to /usr count, since a tree
// may have /sbin and /lib as links or not.
func (s *setup) has(name string) bool {
	for _, n := range []string{name, strings.TrimPrefix(name, "usr/")} {
		if _, err := s.root.Lstat(n); err == nil {
			return true
		}
	}
	return false
}

// put writes a file, which appears whole; a link that stands there is replaced.
func (s *setup) put(name string, mode fs.FileMode, content string) error {
	if err := s.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	fresh := name + ".ore-new"
	if err := s.root.WriteFile(fresh, []byte(content), mode); err != nil {
		return err
	}
	if err := s.root.Chmod(fresh, mode); err != nil { // the umask's part
		return err
	}
	return s.root.Rename(fresh, name)
}

func (s *setup) fileSystems(context.Context) error {
	if len(s.Layout.Arrays) > 0 {
		if err := s.put("etc/mdadm/mdadm.conf", 0o644, Arrays(s.Layout)); err != nil {
			return err
		}
	}
	return s.put("etc/fstab", 0o644, Fstab(s.Layout))
}

func (s *setup) name(context.Context) error {
	if err := s.put("etc/hostname", 0o644, s.Recipe.Name+"\n"); err != nil {
		return err
	}
	return s.put("etc/hosts", 0o644, Hosts(s.Recipe.Name))
}

// identities are what each machine must make for itself.
func (s *setup) identities(ctx context.Context) error {
	if s.has("usr/bin/systemctl") || s.has("etc/machine-id") {
		if err := s.put("etc/machine-id", 0o444, ""); err != nil {
			return err
		}
	}
	keys, err := fs.Glob(s.root.FS(), "etc/ssh/ssh_host_*_key")
	if err != nil || len(keys) > 0 || !s.has("usr/sbin/sshd") {
		return err
	}
	return s.call(ctx, "", "ssh-keygen", "-A")
}

func (s *setup) zone(context.Context) error {
	z := s.Recipe.System.TimeZone
	if z == "" {
		return nil
	}
	if err := s.root.Remove("etc/localtime"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.root.Symlink("/usr/share/zoneinfo/"+z, "etc/localtime"); err != nil {
		return err
	}
	return s.put("etc/timezone", 0o644, z+"\n")
}

// plain is the language where none is described: the C library has it (libc-bin).
const plain = "C.UTF-8"

// generated returns the locale that must be made: all but those of the C library.
func (s *setup) generated() string {
	if l := s.Recipe.System.Locale; l != plain && l != "C" && l != "POSIX" {
		return l
	}
	return ""
}

func (s *setup) locale(ctx context.Context) error {
	l := s.Recipe.System.Locale
	if l == "" {
		if _, err := s.root.Stat("etc/default/locale"); err == nil {
			return nil // the environment says it
		}
		l = plain
	}
	if s.generated() != "" {
		_, charmap, _ := strings.Cut(l, ".")
		charmap, _, _ = strings.Cut(charmap, "@")
		if charmap == "" {
			charmap = "ISO-8859-1"
		}
		line := l + " " + charmap + "\n"
		if b, _ := s.root.ReadFile("etc/locale.gen"); !strings.Contains("\n"+string(b), "\n"+line) {
			if err := s.put("etc/locale.gen", 0o644, string(b)+line); err != nil {
				return err
			}
		}
		if err := s.call(ctx, "", "locale-gen"); err != nil {
			return err
		}
	}
	name := "etc/default/locale"
	if to, err := s.root.Readlink(name); err == nil && to == "../locale.conf" {
		name = "etc/locale.conf" // where systemd reads it, too (locale.conf(5))
	}
	return s.put(name, 0o644, "LANG="+l+"\n")
}

func (s *setup) network(ctx context.Context) error {
	n := s.Recipe.System.Network
	switch {
	case s.has("usr/sbin/ifup"):
		return s.put("etc/network/interfaces", 0o644, interfaces(n))
	case n == ore.NoNet:
		return nil
	case s.has("usr/lib/systemd/systemd-networkd") && s.has("usr/bin/systemctl"):
		if err := s.put("etc/systemd/network/80-ethernet.network", 0o644, networkd); err != nil {
			return err
		}
		units := []string{"systemctl", "enable", "systemd-networkd.service"}
		if s.has("usr/lib/systemd/systemd-resolved") {
			units = append(units, "systemd-resolved.service")
		}
		return s.call(ctx, "", units...)
	case s.Recipe.System.Loader != ore.NoLoader && n == ore.DHCP:
		return errors.New("the environment has neither systemd-networkd nor ifupdown: add systemd, or set network: none")
	}
	return nil
}

// Start is how a configured tree is started directly.
type Start struct {
	Kernel, Initrd string // paths in the tree, relative; "" where it has none
	Arguments      string
}

// Starts returns how the newest kernel of a tree is started.
func Starts(o Options) (Start, error) {
	r, err := os.OpenRoot(o.Target)
	if err != nil {
		return Start{}, fmt.Errorf("find kernel: %w", err)
	}
	defer r.Close()
	s := &setup{Options: o, root: r}
	start := Start{Arguments: Arguments(o.Layout, o.Recipe.Console)}
	if all := s.kernels(); len(all) > 0 {
		v := all[len(all)-1]
		start.Kernel = "boot/vmlinuz-" + v
		if s.has("boot/initrd.img-" + v) {
			start.Initrd = "boot/initrd.img-" + v
		}
	}
	return start, nil
}

// enter mounts in the tree what programs expect there. The function that it
// returns unmounts it.
func enter(target string) (func() error, error) {
	var done []string
	release := func() error {
		var err error
		for i := len(done) - 1; i >= 0; i-- {
			if e := unix.Unmount(done[i], unix.MNT_DETACH); e != nil {
				err = errors.Join(err, fmt.Errorf("unmount %s: %w", done[i], e))
			}
		}
		done = nil
		return err
	}
	for _, m := range []struct {
		source, at, kind string
		flags            uintptr
	}{
		{"proc", "proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", "sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY},
		{"/dev", "dev", "", unix.MS_BIND},
		{"tmpfs", "run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		at := path.Join(target, m.at)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return nil, errors.Join(err, release())
		}
		if st, err := os.Lstat(at); err != nil || !st.IsDir() {
			return nil, errors.Join(fmt.Errorf("mount %s: it is no folder", at), err, release())
		}
		if err := unix.Mount(m.source, at, m.kind, m.flags, ""); err != nil {
			return nil, errors.Join(fmt.Errorf("mount %s: %w", at, err), release())
		}
		done = append(done, at)
	}
	return release, nil
}
