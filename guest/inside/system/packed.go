package system

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"ore/guest"
)

// A packed machine has no driver that gives it devices, identity and a stream
// home: all that it is came in its initramfs, from the network (package boot,
// Packed; package netboot). Its layers, its kernel's modules and its one program
// are files there, which are mounted by way of loop devices (loop(4)); what is
// written stays in memory.

// PackedPath is what a packed machine is told of itself (netboot.Identity).
const PackedPath = "/ore/netboot.json"

// ToldPath is where a packed machine's program finds that.
const ToldPath = Run + "/netboot.json"

// ProgramPath is where a packed machine has its one program.
const ProgramPath = "/usr/local/sbin/ore"

// packed is the folder of the files; package boot writes it.
const packed = "/ore/packed/"

// BootPacked goes through the stages that make a packed machine's system. If one
// fails, it returns its name.
func (b *Machine) BootPacked() (failed string, err error) {
	var told []byte
	return b.Through(
		Stage{"early", mountEarly},
		Stage{"identity", func() (err error) {
			told, err = b.readTold()
			return err
		}},
		Stage{"entropy", b.seed},
		Stage{"modules", loadModules},
		Stage{"layers", b.mountPacked},
		Stage{"overlay", b.mountMemory},
		Stage{"program", mountProgram},
		Stage{"root", b.switchRoot},
		Stage{"system", b.setUpSystem},
		Stage{"told", func() error { return tell(told) }},
	)
}

// readTold reads what the machine is told, of which it needs only its name.
func (b *Machine) readTold() ([]byte, error) {
	told, err := os.ReadFile(PackedPath)
	if err != nil {
		return nil, err
	}
	var who struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(told, &who); err != nil {
		return nil, fmt.Errorf("%s: %w", PackedPath, err)
	}
	b.Identity.Name, b.Identity.Size = who.Name, 1
	return told, nil
}

// tell leaves what the machine is told where its program looks for it, for root
// alone: there is a secret in it.
func tell(told []byte) error {
	if err := os.WriteFile(ToldPath, told, 0o400); err != nil {
		return fmt.Errorf("keep what this machine is told: %w", err)
	}
	return nil
}

// mountPacked mounts the layers, of which there are as many as there are files.
func (b *Machine) mountPacked() error {
	for exists(packed + "layer" + strconv.Itoa(b.Identity.Layers)) {
		n := b.Identity.Layers
		if err := mountLoop(packed+"layer"+strconv.Itoa(n), layerPath(n)); err != nil {
			return fmt.Errorf("layer %d: %w", n, err)
		}
		b.Identity.Layers++
	}
	return nil
}

// mountMemory puts memory over the layers, and the kernel's modules in their place.
func (b *Machine) mountMemory() error {
	if err := (mount{source: "tmpfs", target: diskDir, kind: "tmpfs", flags: noatime, options: "mode=755"}).do(); err != nil {
		return err
	}
	for _, dir := range []string{"/upper", "/work"} {
		if err := mkdir(diskDir+dir, 0o755); err != nil {
			return err
		}
	}
	if err := b.mountOverlay(); err != nil {
		return err
	}
	return mountLoop(packed+"modules", newRoot+"/lib/modules")
}

// mountProgram mounts the program's file over one in the new root.
func mountProgram() error {
	const at = "/ore/program"
	if err := mountLoop(packed+"program", at); err != nil {
		return err
	}
	if err := makeFile(newRoot + ProgramPath); err != nil {
		return err
	}
	return mount{source: filepath.Join(at, guest.MountedFile), target: newRoot + ProgramPath, flags: unix.MS_BIND}.do()
}

// mountLoop mounts a squashfs that is a file.
func mountLoop(file, target string) error {
	device, release, err := loop(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	defer release()
	return mount{source: device, target: target, kind: "squashfs", flags: unix.MS_RDONLY | noatime}.do()
}

// loop makes a device of a file. It is gone when nobody has it open or mounted
// any more; release closes what the caller has of it.
func loop(file string) (device string, release func(), err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", nil, fmt.Errorf("find a free loop device: %w", err)
	}
	device = "/dev/loop" + strconv.Itoa(n)
	d, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	config := unix.LoopConfig{Fd: uint32(f.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR}}
	if err := unix.IoctlLoopConfigure(int(d.Fd()), &config); err != nil {
		d.Close()
		return "", nil, fmt.Errorf("set up %s: %w", device, err)
	}
	return device, func() { d.Close() }, nil
}
