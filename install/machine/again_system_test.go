//go:build system

package machine

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/install/configure"
	"ore/install/recipe"
	"ore/install/restart"
)

// entered is what a marked kernel says at its first instruction.
const entered = "<kernel>"

// mark returns a copy of a kernel that says [entered] on the first serial line when
// it begins: at its 64-bit entry, which all ways lead through, 0x200 bytes behind
// what real mode loads (the kernel's Documentation/arch/x86/boot.rst). A jump there
// leads to code in the room before it, which does what the jump took the place of.
func mark(kernel []byte) ([]byte, error) {
	const entry = 0x200
	displaced := []byte{0xfc, 0xfa, 0x31, 0xc0, 0x8e, 0xd8} // cld, cli, xor eax eax, mov ds eax
	code := []byte{0x66, 0xba, 0xf8, 0x03}                  // mov dx, 0x3f8: the line's transmitter
	for _, c := range []byte(entered) {
		code = append(code, 0xb0, c, 0xee) // mov al, c; out dx, al
	}
	code = append(code, displaced...)
	const jump = 5
	room := entry - len(code) - jump
	back := entry + len(displaced) - (room + len(code) + jump)
	code = binary.LittleEndian.AppendUint32(append(code, 0xe9), uint32(int32(back)))
	if len(kernel) < 0x202+4 || string(kernel[0x202:0x206]) != "HdrS" {
		return nil, errors.New("it is no bzImage")
	}
	begin := (int(kernel[0x1f1]) + 1) * 512
	k := slices.Clone(kernel)
	protected := k[begin:]
	if !bytes.Equal(protected[entry:entry+len(displaced)], displaced) || len(bytes.Trim(protected[room:entry], "\x00")) > 0 {
		return nil, errors.New("its entry is another than Debian's kernels have")
	}
	copy(protected[room:], code)
	copy(protected[entry:], binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(int32(room-entry-jump))))
	return k, nil
}

// archive is files as an initramfs (the kernel's driver-api/early-userspace/buffer-format.rst).
func archive(files map[string][]byte) []byte {
	var b bytes.Buffer
	pad := func() { b.Write(make([]byte, -b.Len()&3)) }
	files["TRAILER!!!"] = nil
	for _, name := range []string{"again", "again.json", "TRAILER!!!"} {
		fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 0, 0o100755, 0, 0, 1, 0, len(files[name]), 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name + "\x00")
		pad()
		b.Write(files[name])
		pad()
	}
	return b.Bytes()
}

// prepare makes a target whose machine runs the program again as its first process
// however it starts, and tells its first instruction. It returns how it is started
// directly.
func prepare(target string, s configure.Start, device string) (next restart.Next, err error) {
	const argument = " rdinit=/again"
	program := filepath.Join(filepath.Dir(target), "again")
	c := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./testdata/again")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return next, fmt.Errorf("%w: %s", err, out)
	}
	next = restart.Next{Kernel: "/disk/" + s.Kernel, Initrd: "/disk/" + s.Initrd, Arguments: s.Arguments + argument}
	told, err := json.Marshal(map[string]any{"Device": device, "FS": "ext4", "Ways": ways, "Next": next})
	if err != nil {
		return next, err
	}
	change := func(name string, f func([]byte) ([]byte, error)) {
		if err != nil {
			return
		}
		var b []byte
		if b, err = os.ReadFile(filepath.Join(target, name)); err == nil {
			if b, err = f(b); err == nil {
				err = os.WriteFile(filepath.Join(target, name), b, 0o644)
			}
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}
	change(s.Kernel, mark)
	change(s.Initrd, func(b []byte) ([]byte, error) {
		code, err := os.ReadFile(program)
		b = append(b, make([]byte, -len(b)&3)...)
		return append(b, archive(map[string][]byte{"again": code, "again.json": told})...), err
	})
	change("boot/grub/grub.cfg", func(b []byte) ([]byte, error) {
		return regexp.MustCompile(`(?m)^\s*linux\s.*$`).ReplaceAll(b, []byte("$0"+argument)), nil
	})
	return next, err
}

// watched is a machine whose serial line is read, with what it has cost.
type watched struct {
	t       *testing.T
	command *exec.Cmd
	out     *os.File
	said    string
	begun   time.Time
}

// moment is when something was said.
type moment struct{ wall, cpu time.Duration }

func (m moment) since(o moment) moment { return moment{m.wall - o.wall, m.cpu - o.cpu} }

func (m moment) String() string {
	return fmt.Sprintf("%.2f s of CPU, %.2f s by the clock", m.cpu.Seconds(), m.wall.Seconds())
}

// emulate starts a machine.
func emulate(ctx context.Context, t *testing.T, argv ...string) *watched {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	m := &watched{t: t, out: r, begun: time.Now(), command: exec.CommandContext(ctx, "qemu-system-x86_64", append([]string{"-accel", "tcg", "-cpu", "qemu64,+rdrand", "-m", "1024",
		"-display", "none", "-nodefaults", "-serial", "stdio"}, argv...)...)}
	m.command.Stdout, m.command.Stderr = w, os.Stderr
	if err := m.command.Start(); err != nil {
		t.Fatalf("%v: apt-get install qemu-system-x86", err)
	}
	t.Cleanup(m.end)
	return m
}

func (m *watched) end() {
	if m.command.ProcessState == nil {
		m.command.Process.Kill()
		m.command.Wait()
		m.out.Close()
	}
}

// expect waits for a text, and says when it came.
func (m *watched) expect(text string) moment {
	m.t.Helper()
	b := make([]byte, 4096)
	for {
		if _, rest, found := strings.Cut(m.said, text); found {
			m.said = rest
			return m.now()
		}
		n, err := m.out.Read(b)
		m.said += string(b[:n])
		if err != nil || strings.Contains(m.said, "again: fails") {
			m.t.Fatalf("no %q: %v:\n%s", text, err, m.said)
		}
	}
}

// now is what the machine has taken so far.
func (m *watched) now() moment {
	m.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.command.Process.Pid))
	if err != nil {
		m.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ") // behind the program's name (proc_pid_stat(5))
	at := moment{wall: time.Since(m.begun)}
	const user, tick = 11, 10 * time.Millisecond // utime, then stime; USER_HZ is 100 (time(7))
	for _, f := range strings.Fields(rest)[user : user+2] {
		n, err := strconv.Atoi(f)
		if err != nil {
			m.t.Fatal(err)
		}
		at.cpu += time.Duration(n) * tick
	}
	return at
}

// ways are those that the machine goes, one after the other.
var ways = [...]string{"firmware", "kexec"}

// faster is how many times as fast a way into the installed kernel without firmware
// and boot loader is at least, counted to the kernel's first instruction.
const faster = 2

// fasterUEFI is that of kexec beside UEFI in an emulated machine, which reads its disk
// several times as fast as through a BIOS, and hashes as slowly.
const fasterUEFI = 1.4

// TestStartsAgain compares the ways in which a machine starts what it has installed,
// from the moment when it leaves the installer: kexec; a restart through firmware and
// GRUB; and, where a driver can do that, a new machine that is given the kernel. What
// comes after a kernel's first instruction is the same in all. What kexec loads before,
// and hashes, is shown beside.
// Counted are seconds of CPU of the emulated machine: on a host that does much else
// they say more than a clock.
func TestStartsAgain(t *testing.T) {
	device, file := loop(t, 4<<30)
	r := standing(t, device, ore.BIOS)
	// Neither is part of a start, and each costs a minute: an initramfs of its own, since
	// there is something to swap to, and a locale.
	r.Storage.Disks[0].Partitions, r.System.Locale = r.Storage.Disks[0].Partitions[:1], ""
	var next restart.Next
	boot, esp := t.TempDir(), t.TempDir()
	_, _, err := install(t, r, func(o *Options) {
		o.Load = func(target string, s configure.Start) (_ string, err error) {
			if next, err = prepare(target, s, inside(t, r, device)); err == nil {
				err = errors.Join(os.CopyFS(boot, os.DirFS(filepath.Join(target, "boot"))), loader(target, esp, next.Arguments))
			}
			return "", err
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	argv := []string{"-drive", "if=none,id=d,format=raw,snapshot=on,file=" + file, "-device", "virtio-blk-pci,drive=d,bootindex=2"}
	at := func(path string) string { return filepath.Join(boot, filepath.Base(path)) }
	m := emulate(ctx, t, append(argv, "-machine", "pc", "-kernel", at(next.Kernel), "-initrd", at(next.Initrd), "-append", next.Arguments)...)
	direct := m.expect(entered)
	t.Logf("a machine that is given its kernel: %v", direct)
	m.end()
	for _, c := range []struct {
		firmware ore.Firmware
		kexec    float64
		more     []string
	}{
		{ore.BIOS, faster, []string{"-machine", "pc"}},
		{ore.UEFI, fasterUEFI, []string{"-machine", "q35", "-bios", "/usr/share/ovmf/OVMF.fd",
			"-drive", "if=none,id=e,format=raw,readonly=on,file=fat:" + esp, "-device", "virtio-blk-pci,drive=e,bootindex=1"}},
	} {
		t.Run(string(c.firmware), func(t *testing.T) {
			m := emulate(ctx, t, append(argv, c.more...)...)
			t.Logf("from power on: %v", m.expect(entered))
			took := map[string]moment{"direct": direct}
			for _, way := range ways {
				m.expect("is up")
				begun := m.expect("again: loads")
				left := m.expect("again: leaves")
				came := m.expect(entered)
				took[way] = came.since(left)
				t.Logf("by %s: %v to load, then %v", way, left.since(begun), took[way])
				t.Logf("from there to the first process: %v", m.expect("again: ").since(came))
			}
			m.expect("ends")
			m.end()
			for way, least := range map[string]float64{"kexec": c.kexec, "direct": faster} {
				ratio := took["firmware"].cpu.Seconds() / took[way].cpu.Seconds()
				t.Logf("%s is %.2f times as fast as a restart", way, ratio)
				if ratio < least {
					t.Errorf("%s is not %.1f times as fast as a restart through firmware and boot loader", way, least)
				}
			}
		})
	}
}

// loader puts GRUB for UEFI into the folder of a partition that the firmware finds
// it on, where a machine of the kind was installed with one for BIOS: this host's
// kernel need not have vfat for it. It reads the same menu.
func loader(target, esp, arguments string) error {
	const modules = "usr/lib/grub/x86_64-efi"
	uuid := regexp.MustCompile(`root=UUID=(\S+)`).FindStringSubmatch(arguments)
	if uuid == nil {
		return errors.New("the root has no identifier")
	}
	early := "search --fs-uuid --set=root " + uuid[1] + "\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
	err := errors.Join(os.CopyFS(filepath.Join(target, "boot/grub/x86_64-efi"), os.DirFS(filepath.Join(target, modules))),
		os.WriteFile(filepath.Join(target, "early.cfg"), []byte(early), 0o644))
	if err != nil {
		return err
	}
	c := exec.Command("chroot", target, "grub-mkimage", "-O", "x86_64-efi", "-o", "/boot/loader.efi", "-p", "/boot/grub", "-c", "/early.cfg",
		"part_gpt", "ext2", "search", "search_fs_uuid", "configfile", "normal", "linux", "serial", "terminal", "echo", "test", "gzio")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("grub-mkimage: %w: %s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(target, "boot/loader.efi"))
	if err == nil {
		err = os.MkdirAll(filepath.Join(esp, "EFI/BOOT"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(esp, "EFI/BOOT/BOOTX64.EFI"), b, 0o644)
	}
	return err
}

// inside is what a machine calls the disk of its root, which is its only one.
func inside(t *testing.T, r recipe.Recipe, device string) string {
	t.Helper()
	for _, f := range look(t, r, device).FileSystems() {
		if f.Mount == "/" {
			return "/dev/vda" + strings.TrimPrefix(f.Device, device+"p")
		}
	}
	t.Fatal("there is no root")
	return ""
}
