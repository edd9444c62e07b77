package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// workers are what a test runs inside a sandbox, by name.
var workers = map[string]func(s *Sandbox, dir string) error{
	"run":     workRun,
	"files":   workFiles,
	"bench":   workBench,
	"debian":  workDebian,
	"owned":   workOwned,
	"hang":    workHang,
	"instead": workInstead,
}

// programs are the host's own, all of packages that every Debian has but
// libcap2-bin.
var programs = []string{
	"/bin/sh", "/bin/cat", "/bin/chgrp", "/bin/chmod", "/bin/chown", "/bin/cp", "/usr/bin/cut",
	"/usr/bin/find", "/bin/grep", "/bin/hostname", "/usr/bin/id", "/usr/bin/install", "/bin/ln",
	"/bin/ls", "/bin/mkdir", "/bin/mkfifo", "/bin/mknod", "/bin/mv", "/bin/rm", "/bin/sleep",
	"/usr/bin/sort", "/usr/bin/stat", "/bin/sync", "/bin/tar", "/usr/bin/test", "/bin/touch",
	"/usr/bin/tr", "/sbin/setcap", "/sbin/getcap", "/usr/sbin/chroot", "/usr/bin/perl",
	"/usr/bin/setpriv",
}

// tinyTree makes a tree with the host's programs and the libraries they need.
func tinyTree(dir string, programs []string) error {
	files := map[string]bool{}
	for _, p := range programs {
		out, err := exec.Command("ldd", p).Output()
		if err != nil {
			return fmt.Errorf("%s: %w: install coreutils, findutils, tar, grep, hostname, perl-base, libc-bin and libcap2-bin", p, err)
		}
		files[p] = true
		for _, f := range strings.Fields(string(out)) {
			if f[0] == '/' {
				files[f] = true
			}
		}
	}
	for f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(f, "/usr"))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, b, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// sh runs a script in a tree and returns its output.
func sh(s *Sandbox, root, script string) (string, error) {
	var out bytes.Buffer
	err := s.Run(context.Background(), Command{
		Root: root, Args: []string{"sh", "-euc", script},
		Env: []string{"PATH=/bin:/sbin", "LC_ALL=C"}, Stdout: &out, Stderr: &out,
	})
	return out.String(), err
}

// overlaid makes a tiny tree and an overlay over it.
func overlaid(s *Sandbox, dir string, programs ...string) (root string, err error) {
	lower, upper, work, root := filepath.Join(dir, "lower"), filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "root")
	for _, d := range []string{upper, work, root} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return "", err
		}
	}
	if err := tinyTree(lower, programs); err != nil {
		return "", err
	}
	_, err = s.Overlay([]string{lower}, upper, work, root)
	return root, err
}

func workRun(s *Sandbox, dir string) error {
	root, err := overlaid(s, dir, programs...)
	if err != nil {
		return err
	}
	out, err := sh(s, root, `
		echo pid=$$ uid=$(id -u) groups=$(id -G) host=$(hostname) umask=$(umask)
		ls /dev | tr '\n' ' '; echo
		ls / | tr '\n' ' '; echo
		grep -c : /proc/net/dev
		sync; echo hello > /greeting; cat /greeting > /dev/null
		cut -d' ' -f2,3 /proc/mounts | grep -v /dev/ | grep -v ^/proc/ | tr '\n' ';'; echo
		grep CapBnd /proc/self/status
		pattern=$(cat /proc/sys/kernel/core_pattern); (echo "$pattern" > /proc/sys/kernel/core_pattern) 2>/dev/null && echo told the kernel
		for d in /made /dev/made; do
			mknod $d c 1 5 2>/dev/null && perl -e 'open F, $ARGV[0] and read F, $b, 1 and print "a device of its own\n"' $d
			rm -f $d
		done; true`)
	fmt.Print(out)
	if err != nil {
		return err
	}
	if err := runWithNetwork(s, root); err != nil {
		return err
	}
	var exit *ExitError
	if _, err = sh(s, root, "exit 7"); !errors.As(err, &exit) || exit.Code != 7 {
		return fmt.Errorf("exit 7 came as %v", err)
	}
	if _, err = sh(s, root, "kill -9 $$"); !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL {
		return fmt.Errorf("kill -9 came as %v", err)
	}
	err = s.Run(context.Background(), Command{Root: root, Args: []string{"/bin/nothing"}})
	if err == nil || errors.As(err, &exit) {
		return fmt.Errorf("a missing program came as %v", err)
	}
	return nil
}

// runWithNetwork checks that a program which may use the network has the
// host's, and the host's name servers for as long as it runs.
func runWithNetwork(s *Sandbox, root string) error {
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		return err
	}
	var out bytes.Buffer
	err := s.Run(context.Background(), Command{
		Root: root, Args: []string{"cat", "/etc/resolv.conf", "/proc/net/dev"},
		Env: []string{"PATH=/bin"}, Stdout: &out, Network: true,
	})
	if err != nil {
		return err
	}
	servers, err := os.ReadFile("/" + resolvConf)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	devices, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return err
	}
	lines := bytes.Count(servers, []byte("\n")) + bytes.Count(devices, []byte("\n"))
	if !bytes.HasPrefix(out.Bytes(), servers) || bytes.Count(out.Bytes(), []byte("\n")) != lines {
		return fmt.Errorf("name servers and interfaces are not the host's:\n%s", out.String())
	}
	if _, err := os.Lstat(filepath.Join(root, resolvConf)); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the tree has a resolv.conf now: %v", err)
	}
	return os.Remove(filepath.Join(root, "etc"))
}

func TestRun(t *testing.T) {
	for _, tier := range tiers {
		t.Run(string(tier), func(t *testing.T) {
			out := inside(t, tier, "run", folder(t, tier))
			for _, want := range []string{
				"uid=0 groups=0 host=localhost umask=0022\n",
				"fd full null ptmx pts random shm stderr stdin stdout tty urandom zero \n",
				"bin dev lib lib64 proc sbin \n1\n", "/ overlay;/proc proc;/dev tmpfs;",
				"CapBnd:\t00000000a80425fb\n", // those that confine keeps
			} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in output:\n%s", want, out)
				}
			}
			for _, forbidden := range []string{"told the kernel", "a device of its own"} {
				if strings.Contains(out, forbidden) {
					t.Errorf("%q in output:\n%s", forbidden, out)
				}
			}
		})
	}
}

// filesScript does what maintainer scripts do to owners, with programs.
const filesScript = `
	cd /t
	umask 027; echo a > plain; mkdir folder; umask 022
	chown 12:34 plain; chmod 4750 plain
	echo b > stripped; chmod 4755 stripped; chown 12:34 stripped
	chown -h 5:6 link
	ln plain hard; mv hard moved
	echo secret > shadow; chown 0:42 shadow; chmod 640 shadow
	cp -p shadow shadow-; mv shadow- shadow.old
	install -o 7 -g 8 -m 2755 plain installed
	install -d -o 7 -g 8 -m 2775 shared; echo c > shared/inherits; mkdir shared/sub; echo d > shared/sub/too
	cp -a shared copied
	mknod null c 1 3; chmod 666 null; mknod loop b 7 0; chown 0:6 loop; mkfifo pipe; chown 9:9 pipe
	cp -a null null2; mv loop loop2
	tar c plain shared pipe link | tar x -C folder
	rm -f shadow.old; echo new > shadow.old
	chgrp 50 lowered; mv lowerdir/kept lowerdir/renamed
	stat -c '%n %u:%g %a' *
	find . -user 7 | sort
	rm -rf copied
	touch capable; getcap capable; ln capable capable2
	echo p > given; chown 1:1 given; setcap cap_chown=ei given; getcap given; chmod 750 given
	echo p > taken; setcap cap_chown=ei taken; chown 1:1 taken; getcap taken
	mkdir -p jail/in; cp -a /bin /lib /lib64 jail/; ln -s /in/file jail/in/link; echo f > jail/in/file
	chroot jail /bin/chown 15:16 /in/link; chroot jail /bin/stat -c '%u:%g' /in/file; chroot jail /bin/sh -c 'cd /in; chown -h 17:18 link; stat -c %u:%g link'
	rm -rf jail/bin jail/lib jail/lib64
	chown 1:2 /proc/self/fd/9 9>opened; stat -L -c %u:%g /proc/self/fd/9 9<opened
	perl -e '$) = "40 40"; $> = 40; chdir "/tmp"; open F, ">effective"; mkdir "effdir"; symlink "a", "efflink"; chown 0, 0, "effective" or print "refused\n"; $> = 0; open F, ">again"'
	perl -e '$( = $) = "41 41"; $< = $> = 41; exec "sh", "-c", "id -u; id -g; touch /tmp/dropped; (umask 077; echo > /tmp/private); mkdir -m 2770 /tmp/dir; touch /tmp/dir/in; install -m 640 /tmp/private /tmp/copy"'
	setpriv --reuid 43 --regid 44 --clear-groups -- sh -c 'id -u; id -g; touch /tmp/setpriv; mkdir /tmp/ours; chown 43:44 /tmp/ours; chown 7 /tmp/ours 2>/dev/null || echo no'
	setpriv --reuid 43 --regid 44 --clear-groups -- perl -e '$> = 0; $) = 0; print $> + 0, " ", $) + 0, "\n"'
`

func workFiles(s *Sandbox, dir string) error {
	lower := filepath.Join(dir, "lower", "t")
	if err := os.MkdirAll(filepath.Join(lower, "lowerdir"), 0o755); err != nil {
		return err
	}
	for _, f := range []struct {
		name     string
		uid, gid int
		mode     uint32
	}{{"lowered", 3, 4, 0o640}, {"lowerdir/kept", 5, 5, 0o600}, {"capable", 0, 0, 0o755}, {"suid", 1, 0, 0o4755}} {
		p := filepath.Join(lower, f.name)
		if err := os.WriteFile(p, []byte(f.name), 0o644); err != nil {
			return err
		}
		if err := errors.Join(s.Chown(p, f.uid, f.gid), unix.Chmod(p, f.mode)); err != nil {
			return err
		}
	}
	link := filepath.Join(lower, "link")
	if err := errors.Join(
		s.Chown(filepath.Join(lower, "lowerdir"), 33, 33),
		os.Symlink("plain", link), s.Chown(link, 8, 8),
		os.Symlink("plain", link+"2"), s.Chown(link+"2", 8, 9),
		s.Setxattr(filepath.Join(lower, "capable"), capabilityName, netRaw),
		s.Mknod(filepath.Join(lower, "tty"), unix.S_IFCHR|0o620, 5, 0),
		s.Chown(filepath.Join(lower, "tty"), 0, 5),
		os.Mkdir(filepath.Join(dir, "lower", "tmp"), 0o777),
		os.Chmod(filepath.Join(dir, "lower", "tmp"), 0o777|os.ModeSticky),
	); err != nil {
		return err
	}
	root, err := overlaid(s, dir, programs...)
	if err != nil {
		return err
	}
	out, err := sh(s, root, filesScript)
	fmt.Print(out)
	if err != nil {
		return err
	}
	// A rename makes the overlay copy the link up.
	if err := os.Rename(filepath.Join(root, "t/link2"), filepath.Join(root, "t/link3")); err != nil {
		return err
	}
	for _, part := range []string{"t", "tmp"} {
		list, err := listing(s, filepath.Join(root, part))
		fmt.Print(list)
		if err != nil {
			return err
		}
	}
	return nil
}

// netRaw is security.capability, version 2, with cap_net_raw permitted and
// effective (linux/capability.h).
var netRaw = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// TestFilesAreTheSameInAllTiers also compares file systems: that of the
// temporary folder, and one in memory.
func TestFilesAreTheSameInAllTiers(t *testing.T) {
	var want string
	for _, parent := range []string{os.TempDir(), "/dev/shm"} {
		for _, tier := range tiers {
			t.Run(string(tier)+" in "+parent, func(t *testing.T) {
				got := inside(t, tier, "files", folderIn(t, tier, parent))
				switch {
				case want == "":
					want = got
					t.Log(got)
				case got != want:
					t.Errorf("not as for root in %s:\n%s", os.TempDir(), differences(want, got))
				}
			})
		}
	}
}
