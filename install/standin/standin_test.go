package standin

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore/install/sandbox/instead"
)

// script makes a stand-in that finds its files in the folder root, and whose
// program itself says "own" and its arguments.
func script(t *testing.T, name, root string) string {
	t.Helper()
	b, err := scripts.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), instead.OwnDir+"/"+name+" ") {
		t.Fatalf("%s does not start the program itself", name)
	}
	text := strings.NewReplacer(instead.OwnDir, root, "/etc/systemd", root+"/etc/systemd", "/etc/initramfs", root+"/etc/initramfs",
		"/var/lib", root+"/var/lib", "/boot", root+"/boot").Replace(string(b))
	for path, content := range map[string]string{name: "#!/bin/sh\necho own \"$@\"\nexit 7\n", name + ".standin": text} {
		if err := os.WriteFile(filepath.Join(root, path), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(root, name+".standin")
}

// answer runs a stand-in and returns what it says and its exit code, or "own"
// if it left the answer to the program itself, with the same arguments.
func answer(t *testing.T, program string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	out, err := cmd.CombinedOutput()
	said := strings.TrimSpace(string(out))
	if rest, ok := strings.CutPrefix(said, "own"); ok {
		if strings.TrimSpace(rest) != strings.Join(args, " ") || cmd.ProcessState.ExitCode() != 7 {
			t.Errorf("%q: the program itself got %q", args, rest)
		}
		return "own"
	}
	if err != nil {
		return said + "exit " + cmd.ProcessState.String()[len("exit status "):]
	}
	return said + "exit 0"
}

// What deb-systemd-helper is answered for is what it would do itself: nothing.
func TestSystemdHelper(t *testing.T) {
	root := t.TempDir()
	p := script(t, "deb-systemd-helper", root)
	env := []string{"DPKG_MAINTSCRIPT_PACKAGE=x"}
	check := func(want string, args ...string) {
		t.Helper()
		if got := answer(t, p, env, args...); got != want {
			t.Errorf("%q: %s, want %s", args, got, want)
		}
	}
	check("exit 0", "unmask", "x.timer")
	check("exit 0", "--quiet", "was-enabled", "x.timer")
	check("enabledexit 0", "was-enabled", "x.timer")
	check("exit 1", "debian-installed", "x.timer")
	for _, args := range [][]string{{"enable", "x.timer"}, {"--user", "unmask", "x.timer"}, {"unmask", "x", "y"}, {"unmask", "a/x"}, {"was-enabled"}, {}} {
		check("own", args...)
	}
	env = nil
	check("own", "unmask", "x.timer")
	env = []string{"DPKG_MAINTSCRIPT_PACKAGE=x"}
	touch(t, root+"/var/lib/systemd/deb-systemd-helper-enabled/x.timer.dsh-also")
	touch(t, root+"/etc/systemd/system/y.timer")
	check("own", "--quiet", "was-enabled", "x.timer")
	check("exit 0", "debian-installed", "x.timer")
	check("own", "unmask", "y.timer")
	check("exit 0", "unmask", "x.timer")
	touch(t, root+"/var/lib/systemd/deb-systemd-helper-masked/y.timer")
	check("own", "unmask", "x.timer")
}

func touch(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// What dpkg-maintscript-helper is answered for is a first installation with
// arguments as they should be.
func TestMaintscriptHelper(t *testing.T) {
	root := t.TempDir()
	p := script(t, "dpkg-maintscript-helper", root)
	touch(t, root+"/left.dpkg-backup")
	for _, c := range []struct{ want, name, args string }{
		{"exit 0", "preinst", "rm_conffile /etc/x 1.0-1~ x -- install"},
		{"exit 0", "postinst", "rm_conffile /etc/x 1.0-1~ x -- configure "},
		{"exit 0", "postinst", "rm_conffile /etc/x -- configure"},
		{"exit 0", "preinst", "mv_conffile /etc/x /etc/y 2:1.0 -- install"},
		{"exit 0", "preinst", "dir_to_symlink /usr/x ../y 1+b1 x:amd64 -- install"},
		{"exit 0", "postinst", "symlink_to_dir /usr/x ../y 1 -- configure"},
		{"exit 0", "preinst", "supports rm_conffile"},
		{"own", "preinst", "supports juggling"},
		{"own", "postrm", "rm_conffile /etc/x 1.0 -- purge"},
		{"own", "preinst", "rm_conffile /etc/x 1.0 -- upgrade 0.9"},
		{"own", "postinst", "rm_conffile /etc/x 1.0 -- configure 0.9"},
		{"own", "postinst", "rm_conffile /etc/x 1.0 --"},
		{"own", "postinst", "rm_conffile /etc/x 1.0 configure"},
		{"own", "preinst", "rm_conffile etc/x 1.0 -- install"},
		{"own", "preinst", "rm_conffile /etc/x x1 -- install"},
		{"own", "preinst", "rm_conffile /etc/x 1_0 -- install"},
		{"own", "preinst", "mv_conffile /etc/x etc/y 1.0 -- install"},
		{"own", "preinst", "symlink_to_dir /usr/x/ y 1.0 -- install"},
		{"own", "postinst", "dir_to_symlink " + root + "/left y 1.0 -- configure"},
		{"own", "preinst", "juggle /etc/x -- install"},
		{"own", "preinst", ""},
	} {
		env := []string{"DPKG_MAINTSCRIPT_PACKAGE=x", "DPKG_MAINTSCRIPT_NAME=" + c.name}
		if got := answer(t, p, env, strings.Fields(c.args)...); got != c.want {
			t.Errorf("%s: %s: %s, want %s", c.name, c.args, got, c.want)
		}
	}
}

// A kernel's initramfs is put off if and only if the trigger that is pending makes it,
// and is made before anything else is asked for. What is left is in any case what the
// program leaves.
func TestUpdateInitramfs(t *testing.T) {
	const one, two = "6.1.0-9-amd64", "6.1.0-10-amd64"
	create := []string{"-c", "-k", one, "-b", "/boot"}
	file := func(name, content string) func(string) {
		return func(root string) {
			touch(t, root+name)
			if err := os.WriteFile(root+name, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	entered := file("/var/lib/dpkg/triggers/Unincorp", "update-initramfs -\n")
	for _, c := range []struct {
		summary string
		query   string // what dpkg-query says
		before  []func(root string)
		args    []string
		want    string // what the program itself is asked for
	}{
		{"pending", "triggers-pending", nil, create, ""},
		{"without the folder", "triggers-pending", nil, create[:3], ""},
		{"not in the books", "installed", []func(string){entered}, create, ""},
		{"not pending", "installed", nil, create, "-c -k " + one + " -b /boot"},
		{"another folder", "triggers-pending", nil, []string{"-c", "-k", one, "-b", "/efi"}, "-c -k " + one + " -b /efi"},
		{"somebody hears of it", "triggers-pending", []func(string){file("/etc/initramfs/post-update.d/x", "")}, create, "-c -k " + one + " -b /boot"},
		{"triggers make none", "triggers-pending", []func(string){file("/etc/initramfs-tools/update-initramfs.conf", "update_initramfs=no\n")}, create, "-c -k " + one + " -b /boot"},
		{"the trigger keeps a backup", "triggers-pending", []func(string){file("/etc/initramfs-tools/update-initramfs.conf", "update_initramfs=yes\nbackup_initramfs=yes\n")}, create, "-c -k " + one + " -b /boot"},
		{"and none", "triggers-pending", []func(string){file("/etc/initramfs-tools/update-initramfs.conf", "update_initramfs=yes\nbackup_initramfs=no\n")}, create, ""},
		{"another kernel has one", "triggers-pending", []func(string){file("/boot/initrd.img-"+two, "x")}, create, "-c -k " + one + " -b /boot"},
		{"another one was put off", "triggers-pending", []func(string){file("/boot/initrd.img-"+two, "")}, create, "-c -k " + two + " -b /boot, -c -k " + one + " -b /boot"},
		{"no kernel", "triggers-pending", nil, []string{"-c", "-k", two}, "-c -k " + two},
		{"the trigger", "installed", []func(string){file("/boot/initrd.img-"+one, "")}, []string{"-u"}, "-u"},
		{"by hand", "installed", []func(string){file("/boot/initrd.img-"+one, "")}, []string{"-u", "-k", "all"}, "-c -k " + one + " -b /boot, -u -k all"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			root := t.TempDir()
			touch(t, root+"/boot/vmlinuz-"+one)
			for _, f := range c.before {
				f(root)
			}
			p := script(t, "update-initramfs", root)
			asked := filepath.Join(root, "asked")
			for name, text := range map[string]string{"update-initramfs": `echo "$@" >>` + asked, "dpkg-query": "echo -n " + c.query} {
				if err := os.WriteFile(filepath.Join(root, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			args := slices.Clone(c.args)
			if len(args) == 5 && args[4] == "/boot" {
				args[4] = root + args[4]
			}
			cmd := exec.Command(p, args...)
			cmd.Env = []string{"PATH=" + root + ":" + os.Getenv("PATH"), "DPKG_MAINTSCRIPT_PACKAGE=linux-image", "DPKG_MAINTSCRIPT_NAME=postinst"}
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("%v: %s", err, out)
			}
			b, err := os.ReadFile(asked)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(string(b)), root, ""), "\n", ", ")
			if got != c.want {
				t.Errorf("the program itself is asked for %q, want %q", got, c.want)
			}
			info, err := os.Stat(filepath.Join(root, "boot/initrd.img-"+one))
			if put := c.want == ""; put && (err != nil || info.Size() > 0) {
				t.Errorf("put off: %v", err)
			}
		})
	}
}

// Stand-ins are written for programs that are known and are there.
func TestWrite(t *testing.T) {
	root := t.TempDir()
	touch(t, root+"/usr/bin/ischroot")
	touch(t, root+"/usr/bin/deb-systemd-helper") // not the one that was read
	list, err := Write(filepath.Join(root, "standin"), root)
	if err != nil || len(list) != 1 || list[0].Path != "usr/bin/ischroot" {
		t.Fatalf("%+v, %v", list, err)
	}
	if st, err := os.Stat(list[0].Host); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", st, err)
	}
}
