//go:build system

package installing

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ore"
	"ore/netboot/lab"
	"ore/netboot/roster"
)

const (
	// listAt is where the process outside of the network tells the one inside of
	// the folder with the list of machines.
	listAt = "ORE_TEST_NETBOOT_LIST"
	// quiet is how long nothing may be heard of an emulated machine, neither by what it
	// reports nor from its serial line, on a host that does much else. What it takes
	// in all is not bounded.
	quiet = 10 * time.Minute
	// memory has room for the installer, which lives in it.
	memory = "1024"
)

// slow are settings of a machine that is emulated on a busy host, and takes longer than
// systemd waits for the serial line that it is to ask for a login on; how far its start
// is is said there (systemd-system.conf(5)).
const slow = `environment:
  base: debian/bookworm
  files: {/etc/systemd/system.conf.d/slow.conf: {content: "[Manager]\nShowStatus=yes\nDefaultTimeoutStartSec=infinity\nDefaultDeviceTimeoutSec=infinity\n"}}
`

// nodeFile is the least that a machine can be.
const nodeFile = slow + `machines:
  root: disk
  system:
    users: [{name: ada, ssh_authorized_keys: ["ssh-ed25519 AAAA ada"]}]
run: {command: ["true"]}
`

// program is ore as make builds it.
func program(t *testing.T) string {
	t.Helper()
	p, err := filepath.Abs("../../../bin/ore")
	if err == nil {
		_, err = os.Stat(p)
	}
	if err != nil {
		t.Fatalf("%v: make build", err)
	}
	return p
}

// command runs ore install.
func command(t *testing.T, list string, args ...string) (string, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), program(t), append(append([]string{"install"}, args...), "--dir", list)...)
	out, err := c.CombinedOutput()
	return string(out), err
}

// served is a running ore install serve.
type served struct {
	command *exec.Cmd
	read    sync.WaitGroup
	signs   lab.Signs     // of machines that report
	more    chan struct{} // has a value when something was told; closed when no more will be

	mu   sync.Mutex // guards what follows
	told []string   // as people would see it
	seen int        // how much of that was expected
}

// serve starts one on the lab's network. It tells all that it hears, as far as that is.
func serve(t *testing.T, list string, args ...string) *served {
	t.Helper()
	args = append([]string{"install", "serve", "--json", "--interface", lab.Switch, "--range", "10.9.0.50-10.9.0.60", "--dir", list}, args...)
	c := exec.Command(program(t), args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout, c.Stderr = w, w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	s := &served{command: c, more: make(chan struct{}, 1)}
	s.read.Go(func() {
		defer r.Close()
		defer close(s.more)
		for in := bufio.NewScanner(r); in.Scan(); {
			s.hear(in.Bytes())
		}
	})
	t.Cleanup(func() { s.end(syscall.SIGKILL) })
	return s
}

// hear takes a line of the server's. What is told is what people would see.
func (s *served) hear(line []byte) {
	s.signs.Note()
	text := string(line)
	var e told
	if json.Unmarshal(line, &e) == nil {
		if e.Total > 0 && !e.Final {
			return
		}
		text = sentence(ore.Event{Stage: e.Stage, Machine: e.Machine, Text: e.Text, Done: e.Done, Total: e.Total, Final: e.Final})
	}
	s.mu.Lock()
	s.told = append(s.told, text)
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// find says whether a text was told after what was expected before.
func (s *served) find(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.seen < len(s.told) {
		s.seen++
		if strings.Contains(s.told[s.seen-1], text) {
			return true
		}
	}
	return false
}

// expect waits until the server says something, as long as it says anything.
func (s *served) expect(t *testing.T, text string) {
	t.Helper()
	end := lab.NewSilence(quiet, &s.signs)
	defer end.Stop()
	for ok := true; !s.find(text); {
		if !ok {
			t.Fatalf("the server ended without %q:\n%s", text, s.text())
		}
		select {
		case _, ok = <-s.more:
		case <-end.C:
			if end.Over() {
				t.Fatalf("the server does not say %q, and nothing else for %v:\n%s", text, quiet, s.text())
			}
		}
	}
}

func (s *served) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.told, "\n")
}

// end ends it, once.
func (s *served) end(how syscall.Signal) {
	if s.command.ProcessState != nil {
		return
	}
	s.command.Process.Signal(how)
	s.read.Wait()
	s.command.Wait()
}

// firmware is how a machine with one disk and one card is made of QEMU.
func firmware(uefi bool, disk string) []string {
	argv := []string{"-m", memory, "-device", "virtio-net-pci,netdev=n0,bootindex=1,mac=" + lab.Card,
		"-drive", "if=none,id=d,format=raw,cache=unsafe,file=" + disk, "-device", "virtio-blk-pci,drive=d,bootindex=2"}
	if uefi {
		return append(argv, "-machine", "q35", "-bios", "/usr/share/ovmf/OVMF.fd")
	}
	return append(argv, "-machine", "pc,graphics=off")
}

// assigned has a machine with a BIOS assigned, with each of the further arguments in
// turn, outside of the lab's network, from which there is no way to a mirror; and says
// whether this is inside.
func assigned(t *testing.T, further ...[]string) (list string, ok bool) {
	t.Helper()
	return assignedBut(t, func(string) {}, further...)
}

// assignedBut is assigned, with something done before the last time.
func assignedBut(t *testing.T, last func(list string), further ...[]string) (list string, ok bool) {
	t.Helper()
	if !lab.Inside() {
		list = t.TempDir()
		t.Setenv(listAt, list)
		t.Cleanup(func() { // what is kept for the machine goes, too
			// t's context has ended by now; a test may have forgotten it already.
			exec.Command(program(t), "install", "forget", "node1", "--dir", list).Run()
		})
		file := filepath.Join(t.TempDir(), "node.yaml")
		if err := os.WriteFile(file, []byte(nodeFile), 0o644); err != nil {
			t.Fatal(err)
		}
		for i, args := range further {
			if i == len(further)-1 {
				last(list)
			}
			args = append([]string{"assign", lab.Card, "--name", "node1", "--firmware", "bios", "-f", file}, args...)
			if out, err := command(t, list, args...); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		// It has its loaders before it finds that it cannot serve.
		if out, _ := command(t, list, "serve", "--interface", "none0"); !strings.Contains(out, "interface none0") {
			t.Fatalf("loaders: %s", out)
		}
	}
	return os.Getenv(listAt), lab.Alone(t)
}

// listed is the machine as ore install ls shows it.
func listed(t *testing.T, list string) row {
	t.Helper()
	out, err := command(t, list, "ls", "--json")
	var rows []row
	if err == nil {
		err = json.Unmarshal([]byte(out), &rows)
	}
	if err != nil || len(rows) != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	return rows[0]
}

// installs follows a machine from its first request to ready, over the death of
// its server, and to a login from its own disk while the network is there to boot
// from. Then nothing of it is left in the network.
func installs(t *testing.T, uefi bool, list string) {
	t.Helper()
	lab.Ethernet(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 4<<30); err != nil {
		t.Fatal(err)
	}
	first := serve(t, list)
	m := lab.Run(t, firmware(uefi, disk)...)
	first.expect(t, "node1: base: image ")
	first.end(syscall.SIGKILL) // in the midst of what it gives
	s := serve(t, list)
	m.Beside(&s.signs)
	how := m.Expect(quiet, "ore: (goes straight into what was installed|restarts from the disk)")[1]
	left, cost := time.Now(), m.CPU()
	m.Expect(quiet, "node1 login:")
	t.Logf("it %s: %v to a login, and %v of CPU", how, time.Since(left), m.CPU()-cost)
	if uefi == strings.Contains(how, "straight") {
		t.Errorf("it %s", how)
	}
	s.expect(t, "node1: ready")
	t.Logf("told:\n%s\n%s", first.text(), s.text())
	if out, err := command(t, list, "wait", "node1"); err != nil {
		t.Errorf("wait: %v\n%s", err, out)
	}
	got := listed(t, list)
	if got.State != roster.Installed || got.Tries != 1 || got.Is != got.Want {
		t.Errorf("listed: %+v", got)
	}
	for _, g := range got.Stages {
		t.Logf("%-16s %6.1f s %s", g.Name, g.Seconds, g.Note)
	}
	m.End()

	begun := time.Now()
	again := lab.Run(t, append(firmware(uefi, disk), "-snapshot")...)
	again.Expect(quiet, "node1 login:")
	t.Logf("from power on, by firmware, network and boot loader, to a login: %v, and %v of CPU", time.Since(begun), again.CPU())
	again.End()
	if now := listed(t, list); now.State != roster.Installed || now.Tries != 1 {
		t.Errorf("after it was switched on again: %+v", now)
	}
	s.end(syscall.SIGINT)
	leaves(t)
	intact(t, disk)
}

// leaves sees that no process is left in the network but this one.
func leaves(t *testing.T) {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if to, err := os.Readlink(p); err == nil && to == own && !strings.HasPrefix(p, fmt.Sprintf("/proc/%d/", os.Getpid())) {
			name, _ := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(p)), "cmdline"))
			t.Errorf("%s is left: %q", p, name)
		}
	}
}

// check is a script over a disk's image and where its root begins and how long it
// is: the power was taken away, so the journal is replayed as the next start would.
const check = `set -eu
at=$(mktemp -d)
device=$(losetup -f --show -o "$2" --sizelimit "$3" "$1")
trap 'umount "$at" 2>/dev/null || true; losetup -d "$device"; rmdir "$at"' EXIT
e2fsck -fp "$device" || [ $? -le 1 ]
e2fsck -fn "$device"
mount -o ro "$device" "$at"
said="$(chroot "$at" dpkg --audit)$(chroot "$at" dpkg --verify)"
[ -z "$said" ] || { echo "dpkg: $said"; exit 1; }
`

// intact sees that the root's file system and packages are, on a copy.
func intact(t *testing.T, disk string) {
	t.Helper()
	copied := disk + ".copy"
	if out, err := exec.Command("cp", "--sparse=always", disk, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command("sfdisk", "--json", copied).Output()
	var table struct {
		PartitionTable struct {
			Partitions []struct{ Start, Size int64 }
		}
	}
	if err == nil {
		err = json.Unmarshal(out, &table)
	}
	if err != nil {
		t.Fatalf("sfdisk: %v: install fdisk", err)
	}
	var start, size int64
	for _, p := range table.PartitionTable.Partitions {
		if p.Size > size {
			start, size = p.Start, p.Size
		}
	}
	const sector = 512
	c := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", check, "sh", copied, fmt.Sprint(start*sector), fmt.Sprint(size*sector))
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("the disk is not whole: %v\n%s", err, out)
	}
}

// TestNetworkBIOS is the whole way of a machine with a BIOS.
func TestNetworkBIOS(t *testing.T) {
	if list, ok := assigned(t, nil); ok {
		installs(t, false, list)
	}
}

// TestNetworkUEFI is that of one with UEFI, which starts what it has installed
// through its firmware.
func TestNetworkUEFI(t *testing.T) {
	if list, ok := assigned(t, []string{"--firmware", "uefi", "--restart", "firmware"}); ok {
		installs(t, true, list)
	}
}

// TestNetworkSilence has a machine lose its power for good while it loads its
// installer: who waits for it is told so, in time.
func TestNetworkSilence(t *testing.T) {
	list, ok := assigned(t, nil)
	if !ok {
		return
	}
	lab.Ethernet(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, list, "--silence", "1m")
	m := lab.Run(t, firmware(false, disk)...)
	s.expect(t, "it gets the installer")
	m.End()
	const says = "nothing was heard of it for 1m0s: it never called home"
	s.expect(t, says)
	if out, err := command(t, list, "wait", "node1"); err == nil || !strings.Contains(out, says) {
		t.Errorf("wait: %v\n%s", err, out)
	}
	if got := listed(t, list); got.State != roster.Failed || got.Reason != says {
		t.Errorf("listed: %+v", got)
	}
	s.end(syscall.SIGINT)
	leaves(t)
}
