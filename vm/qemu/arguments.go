package qemu

import (
	"fmt"
	"strings"

	"ore/vm"
	"ore/vm/home"
)

// firstFD is the number of the first file of exec.Cmd.ExtraFiles in the child.
const firstFD = 3

// layout is what the command line names besides the machine's Config.
type layout struct {
	accelerator string
	initrd      string
	home        int    // file descriptor
	monitor     int    // file descriptor of QMP
	net         int    // file descriptor, 0 for no network
	tsc         uint64 // rate of the host's time stamp counter in kHz, 0 where the guest need not be told
}

// arguments is the command line of QEMU.
func arguments(c vm.Config, l layout) []string {
	args := []string{
		"-name", c.Name,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "pc,usb=off,vmport=off",
		"-m", fmt.Sprintf("%dK", c.Memory>>10),
		"-smp", fmt.Sprint(c.CPUs),
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
	}
	args = append(args, accelerated(l.accelerator)...)
	args = append(args,
		"-kernel", c.Kernel, "-initrd", l.initrd,
		"-append", strings.Join(append(words(l), c.Append...), " "),
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", l.monitor), "-mon", "chardev=monitor,mode=control",
		"-device", "virtio-serial-pci,max_ports=2",
		"-chardev", fmt.Sprintf("socket,id=home,fd=%d", l.home),
		"-device", "virtserialport,chardev=home,name="+home.PortName,
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
	)
	for i, f := range c.Layers {
		args = append(args,
			"-blockdev", fmt.Sprintf("driver=raw,node-name=layer%d,read-only=on,file.driver=file,file.locking=off,file.filename=%s", i, comma(f)),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=layer%d", i))
	}
	if c.Disk != "" {
		// no-flush: the disk is as mortal as the machine, so the guest's syncs
		// need not wait for the host's disk.
		args = append(args,
			"-blockdev", "driver=raw,node-name=disk,discard=unmap,cache.no-flush=on,file.driver=file,file.discard=unmap,file.cache.no-flush=on,file.filename="+comma(c.Disk),
			// The guest hears that the host is full, which would stop the machine without
			// a word otherwise.
			"-device", "virtio-blk-pci,drive=disk,werror=report")
	}
	if l.net != 0 {
		args = append(args,
			"-netdev", fmt.Sprintf("dgram,id=net,local.type=fd,local.str=%d", l.net),
			"-device", card(c))
	}
	return args
}

// card is the network card of a machine.
func card(c vm.Config) string {
	s := "virtio-net-pci,netdev=net,romfile=,mac=" + c.MAC.String()
	if c.MTU > 0 {
		s += fmt.Sprintf(",host_mtu=%d", c.MTU)
	}
	return s
}

// comma writes a value as QEMU's option parser wants it.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// accelerated are QEMU's arguments for an accelerator. TCG's translation cache
// would be a quarter of the host's memory, at most 1 GB, for each machine;
// 64 MB are as fast for kernels and jobs that were tried.
func accelerated(a string) []string {
	if a == KVM {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	return []string{"-accel", "tcg,thread=multi,tb-size=64", "-cpu", "max"}
}

// words are the kernel's arguments that are the same for every machine.
func words(l layout) []string {
	w := []string{
		"console=ttyS0", "quiet", "loglevel=3",
		// A machine boots once: QEMU ends at a restart.
		"panic=-1", "reboot=t",
		// Tests of ciphers at boot, 0.4 s under TCG.
		"cryptomgr.notests",
	}
	if l.accelerator == KVM {
		return w
	}
	if l.tsc > 0 {
		w = append(w, fmt.Sprintf("tsc_early_khz=%d", l.tsc))
	}
	// Under TCG each of these saves 0.1 s or more: moving the kernel about,
	// checking timers that are emulated anyway, patching its code for one CPU,
	// and guarding against leaks of processors that are not there.
	return append(w, "nokaslr", "tsc=reliable", "no_timer_check", "noreplace-smp", "audit=0", "mitigations=off")
}
