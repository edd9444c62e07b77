package configure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/install/disk"
	"ore/install/disk/table"
	"ore/install/recipe"
)

const gib = 1 << 30

// layout is that of a machine with all that there is.
func layout(t *testing.T, f disk.Firmware) disk.Layout {
	t.Helper()
	part := func(size ore.Share, p ore.Partition) ore.Partition { p.Size = size; return p }
	rest := ore.Share{Rest: true}
	l, err := disk.Arrange(disk.Wish{Firmware: f, Machine: "m", Storage: ore.Storage{
		Disks: []ore.Disk{
			{Partitions: []ore.Partition{
				part(ore.Share{Bytes: 4 * gib}, ore.Partition{FileSystem: ore.FileSystem{FS: "ext4", Mount: "/"}}),
				part(ore.Share{Bytes: gib}, ore.Partition{FileSystem: ore.FileSystem{FS: "swap"}}),
				part(rest, ore.Partition{Array: "md"}),
			}},
			{Partitions: []ore.Partition{
				part(ore.Share{Bytes: 2 * gib}, ore.Partition{FileSystem: ore.FileSystem{FS: "xfs", Mount: "/with space"}}),
				part(rest, ore.Partition{Array: "md"}),
			}},
		},
		Arrays:  []ore.RAID{{Name: "md", Level: 1, Group: "vg"}},
		Volumes: []ore.Volume{{Group: "vg", Name: "home", Size: rest, FileSystem: ore.FileSystem{FS: "btrfs", Mount: "/home"}}},
	}}, []disk.Seen{
		{Device: disk.Device{Name: "sda", Size: 10 * gib, Sector: 512}}, {Device: disk.Device{Name: "sdb", Size: 10 * gib, Sector: 512}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// tree makes files, empty but for those with content.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// played are programs that note how they were called, and do what is needed of
// them.
type played struct {
	dir   string
	calls []string
}

func (p *played) command(_ context.Context, argv []string, in string) ([]byte, error) {
	call := strings.Join(argv, " ")
	if in != "" {
		call += " < " + strings.TrimSpace(in)
	}
	p.calls = append(p.calls, call)
	add := func(name, text string) error {
		f, err := os.OpenFile(filepath.Join(p.dir, name), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString(text)
		return errors.Join(err, f.Close())
	}
	switch argv[0] {
	case "useradd":
		name := argv[len(argv)-1]
		return nil, add("etc/passwd", fmt.Sprintf("%s:x:%d:%d::/home/%s:/bin/bash\n", name, os.Getuid(), os.Getgid(), name))
	case "ssh-keygen":
		return nil, add("etc/ssh/ssh_host_ed25519_key", "key")
	}
	return nil, nil
}

func apply(t *testing.T, o Options) *played {
	t.Helper()
	p := &played{dir: o.Target}
	o.Command = p.command
	if err := Apply(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return p
}

func is(t *testing.T, dir, name, want string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || string(b) != want {
		t.Errorf("%s: %v\n%s\nwant\n%s", name, err, b, want)
	}
}

func calls(t *testing.T, p *played, want ...string) {
	t.Helper()
	if !slices.Equal(p.calls, want) {
		t.Errorf("called\n%s\nwant\n%s", strings.Join(p.calls, "\n"), strings.Join(want, "\n"))
	}
}

func TestFstab(t *testing.T) {
	l := layout(t, disk.UEFI)
	uuid := map[string]string{}
	for _, m := range l.FileSystems() {
		uuid[m.FS] = m.UUID
	}
	dir := tree(t)
	apply(t, Options{Target: dir, Layout: l, Recipe: recipe.Recipe{Name: "m0.example.org"}})
	is(t, dir, "etc/fstab", "# <file system> <mount point> <type> <options> <dump> <pass>\n"+
		"UUID="+uuid["swap"]+" none swap sw 0 0\n"+
		"UUID="+uuid["ext4"]+" / ext4 errors=remount-ro 0 1\n"+
		"UUID="+uuid["vfat"]+" /boot/efi vfat umask=0077 0 2\n"+
		"UUID="+uuid["btrfs"]+" /home btrfs defaults 0 0\n"+
		"UUID="+uuid["xfs"]+` /with\040space xfs defaults 0 0`+"\n")
	is(t, dir, "etc/hostname", "m0.example.org\n")
	is(t, dir, "etc/hosts", "127.0.0.1 localhost\n127.0.1.1 m0.example.org m0\n\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n")
	id := strings.ReplaceAll(l.Arrays[0].ID, "-", "")
	is(t, dir, "etc/mdadm/mdadm.conf", "HOMEHOST <ignore>\nMAILADDR root\nARRAY /dev/md0 metadata=1.2 UUID="+id[:8]+":"+id[8:16]+":"+id[16:24]+":"+id[24:]+"\n")
}

// A vfat that holds no boot loader is for everybody to read.
func TestFstabOfVfat(t *testing.T) {
	l, err := disk.Arrange(disk.Wish{Machine: "m", Storage: ore.Storage{Disks: []ore.Disk{{Partitions: []ore.Partition{
		{Size: ore.Share{Bytes: 4 * gib}, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/"}},
		{Size: ore.Share{Bytes: gib}, FileSystem: ore.FileSystem{FS: "vfat", Mount: "/data"}},
	}}}}}, []disk.Seen{{Device: disk.Device{Name: "sda", Size: 10 * gib, Sector: 512}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := Fstab(l); !strings.Contains(got, " /data vfat defaults 0 2\n") {
		t.Errorf("%s", got)
	}
}

// A link in the tree does not lead a file out of it.
func TestLinksLeadNowhere(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "hosts")
	dir := tree(t, "etc/passwd")
	if err := os.Symlink(outside, filepath.Join(dir, "etc/hosts")); err != nil {
		t.Fatal(err)
	}
	apply(t, Options{Target: dir, Layout: layout(t, ""), Recipe: recipe.Recipe{Name: "m0"}})
	if _, err := os.Lstat(outside); err == nil {
		t.Error("it was written outside")
	}
	is(t, dir, "etc/hosts", Hosts("m0"))
}

func TestUsers(t *testing.T) {
	dir := tree(t, "etc/passwd=root:x:0:0:root:/root:/bin/bash\n", "usr/sbin/useradd", "usr/sbin/sshd", "etc/ssh/x", "etc/machine-id=1\n")
	r := recipe.Recipe{Name: "m0", System: ore.System{Users: []ore.User{
		{Name: "root", Password: "$6$r"},
		{Name: "ada", Gecos: "Ada Lovelace", UID: 1234, Groups: []string{"sudo", "adm"}, Password: "$6$a", Keys: []string{"ssh-ed25519 A", "ssh-rsa B"}},
		{Name: "bob", Shell: "/bin/sh"},
	}}}
	o := Options{Target: dir, Layout: layout(t, ""), Recipe: r}
	p := apply(t, o)
	calls(t, p, "ssh-keygen -A", "chpasswd -e < root:$6$r", "useradd -m -c Ada Lovelace -u 1234 -s /bin/bash -G sudo,adm ada", "chpasswd -e < ada:$6$a", "useradd -m -s /bin/sh bob")
	is(t, dir, "home/ada/.ssh/authorized_keys", "ssh-ed25519 A\nssh-rsa B\n")
	is(t, dir, "etc/machine-id", "")
	for name, want := range map[string]os.FileMode{"home/ada/.ssh": os.ModeDir | 0o700, "home/ada/.ssh/authorized_keys": 0o600} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode() != want {
			t.Errorf("%s: %v %v", name, st, err)
		}
	}
	p = apply(t, o) // again: what is there is changed, not made
	calls(t, p, "chpasswd -e < root:$6$r", "usermod -c Ada Lovelace -u 1234 -a -G sudo,adm ada", "chpasswd -e < ada:$6$a", "usermod -s /bin/sh bob")
}

func TestLanguageZoneAndNetwork(t *testing.T) {
	dir := tree(t, "usr/sbin/locale-gen", "etc/locale.gen=# x\n", "usr/share/zoneinfo/Europe/Berlin", "usr/sbin/ifup")
	r := recipe.Recipe{Name: "m0", System: ore.System{Locale: "de_DE.UTF-8", TimeZone: "Europe/Berlin"}}
	calls(t, apply(t, Options{Target: dir, Layout: layout(t, ""), Recipe: r}), "locale-gen")
	apply(t, Options{Target: dir, Layout: layout(t, ""), Recipe: r})
	is(t, dir, "etc/locale.gen", "# x\nde_DE.UTF-8 UTF-8\n")
	is(t, dir, "etc/default/locale", "LANG=de_DE.UTF-8\n")
	is(t, dir, "etc/timezone", "Europe/Berlin\n")
	if to, err := os.Readlink(filepath.Join(dir, "etc/localtime")); err != nil || to != "/usr/share/zoneinfo/Europe/Berlin" {
		t.Error(to, err)
	}
	is(t, dir, "etc/network/interfaces", "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\nauto /en*/=ethernet\nauto /eth*/=ethernet\niface ethernet inet dhcp\n")

	dir = tree(t, "usr/lib/systemd/systemd-networkd", "usr/bin/systemctl", "etc/machine-id")
	calls(t, apply(t, Options{Target: dir, Layout: layout(t, ""), Recipe: recipe.Recipe{Name: "m0"}}), "systemctl enable systemd-networkd.service")
	is(t, dir, "etc/systemd/network/80-ethernet.network", networkd)
	is(t, dir, "etc/default/locale", "LANG=C.UTF-8\n")
	dir = tree(t, "etc/default/locale=LANG=fr_FR.UTF-8\n")
	apply(t, Options{Target: dir, Layout: layout(t, ""), Recipe: recipe.Recipe{Name: "m0"}})
	is(t, dir, "etc/default/locale", "LANG=fr_FR.UTF-8\n") // the environment's own
	dir = tree(t, "usr/lib/systemd/systemd-networkd", "usr/bin/systemctl", "etc/machine-id")
	calls(t, apply(t, Options{Target: dir, Layout: layout(t, ""), Recipe: recipe.Recipe{Name: "m0", System: ore.System{Network: ore.NoNet}}}))
}

// What the environment lacks is told, with the packages, and nothing is written.
func TestWhatLacksIsTold(t *testing.T) {
	dir := tree(t, "etc/passwd")
	r := recipe.Recipe{Name: "m0", System: ore.System{Users: []ore.User{{Name: "ada"}}, Locale: "de_DE.UTF-8", TimeZone: "Europe/Berlin", Loader: ore.GRUB, Firmware: ore.UEFI}}
	err := Apply(t.Context(), Options{Target: dir, Layout: layout(t, disk.UEFI), Recipe: r, Command: (&played{}).command})
	if err == nil || !strings.Contains(err.Error(), "lacks passwd, locales, tzdata, grub2-common, grub-efi-amd64, initramfs-tools, mdadm, lvm2, linux-image-amd64: add them") {
		t.Error(err)
	}
	if all, _ := filepath.Glob(filepath.Join(dir, "etc/*")); len(all) != 1 {
		t.Errorf("written: %q", all)
	}
	for want, system := range map[string]ore.System{
		"tzdata has no zone Mars/Base":  {TimeZone: "Mars/Base"},
		"no package has a group docker": {Users: []ore.User{{Name: "ada", Groups: []string{"docker"}}}},
	} {
		dir = tree(t, "etc/group=root:x:0:\n", "usr/share/zoneinfo/UTC", "usr/sbin/useradd")
		err := Apply(t.Context(), Options{Target: dir, Layout: layout(t, ""), Recipe: recipe.Recipe{Name: "m0", System: system}, Command: (&played{}).command})
		var fault recipe.Fault
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &fault) {
			t.Errorf("%v, want %s", err, want)
		}
		if all, _ := filepath.Glob(filepath.Join(dir, "etc/*")); len(all) != 1 {
			t.Errorf("written: %q", all)
		}
	}
}

func TestLoader(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("names in /dev need root")
	}
	l := layout(t, disk.BIOS)
	files := []string{"usr/sbin/grub-install", "usr/lib/grub/i386-pc/x", "usr/lib/grub/x86_64-efi/x", "usr/sbin/update-initramfs", "usr/sbin/mdadm", "usr/sbin/lvm",
		"boot/vmlinuz-6.1.0-9", "boot/vmlinuz-6.1.0-10", "boot/initrd.img-6.1.0-10", "boot/grub/grub.cfg=linux /boot/vmlinuz root=UUID=" + root(l).UUID + " ro\n"}
	dir := tree(t, files...)
	o := Options{Target: dir, Layout: l, Recipe: recipe.Recipe{Name: "m0", Console: "ttyS0,115200", System: ore.System{Loader: ore.GRUB, Firmware: ore.BIOS}}}
	calls(t, apply(t, o), "update-initramfs -c -k 6.1.0-9", "update-initramfs -u -k 6.1.0-10",
		"grub-install --target=i386-pc --no-floppy --recheck --modules=part_gpt /dev/sda", "grub-mkconfig -o /boot/grub/grub.cfg")
	is(t, dir, "etc/initramfs-tools/conf.d/resume", resume(l))
	is(t, dir, "etc/default/grub.d/ore.cfg", "GRUB_TIMEOUT=1\nGRUB_DISABLE_OS_PROBER=true\nGRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0,115200\"\nGRUB_TERMINAL=\"console serial\"\nGRUB_SERIAL_COMMAND=\"serial --unit=0 --speed=115200\"\n")
	s, err := Starts(o)
	if want := (Start{"boot/vmlinuz-6.1.0-10", "boot/initrd.img-6.1.0-10", "root=UUID=" + root(l).UUID + " ro quiet console=tty0 console=ttyS0,115200"}); err != nil || s != want {
		t.Errorf("%+v %v", s, err)
	}
	o.Layout, o.Recipe.System.Firmware = layout(t, disk.UEFI), ore.UEFI
	if err := os.WriteFile(filepath.Join(dir, "boot/grub/grub.cfg"), []byte("root=/dev/sda2"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := &played{dir: dir}
	o.Command = p.command
	if err := Apply(t.Context(), o); err == nil || !strings.Contains(err.Error(), "did not write root=UUID=") {
		t.Error(err)
	}
	if !slices.Contains(p.calls, "grub-install --target=x86_64-efi --efi-directory=/boot/efi --bootloader-id=debian --no-nvram --recheck --modules=part_gpt --removable") {
		t.Errorf("%q", p.calls)
	}
	for _, m := range l.FileSystems() {
		if _, err := os.Lstat(byUUID + "/" + m.UUID); err == nil {
			t.Errorf("%s/%s was left", byUUID, m.UUID)
		}
	}
}

// GRUB's core reads the tables of all disks, whatever the installer's kernel calls them.
func TestLoaderReadsTables(t *testing.T) {
	var l disk.Layout
	for _, kind := range []table.Kind{table.MBR, table.GPT, table.MBR} {
		l.Disks = append(l.Disks, disk.Placed{Table: table.Table{Kind: kind}})
	}
	if got := strings.Join(readers(l), " "); got != "part_msdos part_gpt" {
		t.Errorf("%q", got)
	}
}

// An initramfs that its kernel's package made is left where it starts this machine,
// and made anew where it may not.
func TestInitramfsOfThePackage(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("names in /dev need root")
	}
	simple, err := disk.Arrange(disk.Wish{Machine: "m0", Firmware: disk.BIOS}, []disk.Seen{{Device: disk.Device{Name: "sda", Size: 10 * gib, Sector: 512}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		summary string
		layout  disk.Layout
		conf    []string
		made    bool
	}{
		{"as Debian has it", simple, []string{"etc/initramfs-tools/initramfs.conf=#\nMODULES=most\nBUSYBOX=auto\n"}, false},
		{"swap and more", layout(t, disk.BIOS), []string{"etc/initramfs-tools/initramfs.conf=MODULES=most\n"}, true},
		{"of the modules of where it was made", simple, []string{"etc/initramfs-tools/initramfs.conf=MODULES=most\n", "etc/initramfs-tools/conf.d/small=MODULES='dep'\n"}, true},
		{"nobody says of what", simple, []string{"etc/initramfs-tools/initramfs.conf=BUSYBOX=auto\n"}, true},
	} {
		files := append([]string{"usr/sbin/grub-install", "usr/lib/grub/i386-pc/x", "usr/sbin/update-initramfs", "usr/sbin/mdadm", "usr/sbin/lvm", "boot/vmlinuz-6.1.0-9",
			"boot/initrd.img-6.1.0-9", "boot/grub/grub.cfg=linux /boot/vmlinuz root=UUID=" + root(c.layout).UUID + " ro\n"}, c.conf...)
		p := apply(t, Options{Target: tree(t, files...), Layout: c.layout, Recipe: recipe.Recipe{Name: "m0", System: ore.System{Loader: ore.GRUB, Firmware: ore.BIOS}}})
		if made := slices.Contains(p.calls, "update-initramfs -u -k 6.1.0-9"); made != c.made {
			t.Errorf("%s: %q", c.summary, p.calls)
		}
	}
}

func TestSerial(t *testing.T) {
	for console, want := range map[string]string{"ttyS0,115200": "0 115200", "ttyS1": "1 9600", "ttyS0,9600n8": "0 9600", "hvc0": " ", "": " "} {
		if unit, speed := serial(console); unit+" "+speed != want {
			t.Errorf("%s: %s %s", console, unit, speed)
		}
	}
}

// A program that fails is told with what it said.
func TestFailureShowsTheOutput(t *testing.T) {
	dir := tree(t, "etc/passwd=", "usr/sbin/useradd")
	err := Apply(t.Context(), Options{Target: dir, Layout: layout(t, ""), Recipe: recipe.Recipe{Name: "m0", System: ore.System{Users: []ore.User{{Name: "ada"}}}},
		Command: func(context.Context, []string, string) ([]byte, error) {
			return []byte("group sudo does not exist"), errors.New("exit status 6")
		}})
	if err == nil || !strings.Contains(err.Error(), "configure users: user ada: useradd -m: exit status 6: its output ends with:\ngroup sudo does not exist") {
		t.Error(err)
	}
}

// What takes long is told of: each program as it begins, and what it says.
func TestProgramsAreTold(t *testing.T) {
	var told []string
	watch := func(e ore.Event) { told = append(told, fmt.Sprintf("%s %d/%d", e.Text, e.Done, e.Total)) }
	l, dir := layout(t, disk.BIOS), tree(t, "etc/passwd", "usr/sbin/sshd", "etc/ssh/x")
	apply(t, Options{Target: dir, Layout: l, Recipe: recipe.Recipe{Name: "m0"}, Watch: watch})
	if want := "identities: ssh-keygen 2/8"; !slices.Contains(told, want) {
		t.Errorf("told %q, want %q among it", told, want)
	}
	if os.Getuid() != 0 {
		t.Skip("only root may run programs in a tree")
	}
	told = nil
	s := &setup{Options: Options{Target: "/", Watch: watch}, now: ore.Event{Text: "boot loader", Done: 7, Total: 8}}
	if _, err := s.run(t.Context(), []string{"sh", "-c", "echo Installing; echo done >&2"}, ""); err != nil {
		t.Fatal(err)
	}
	if want := []string{"boot loader: Installing 7/8", "boot loader: done 7/8"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}
