package system

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// seedSize is what the kernel's pool takes up at once, and twice what it needs
// to count as seeded (random(4)).
const seedSize = 64

// seed fills the random pool, so that nothing waits for it and no two machines
// draw the same: from the hypervisor's generator, from the identity, or both.
func (b *Machine) seed() error {
	seeds := [][]byte{b.Identity.Seed}
	if fd, err := open("/dev/hwrng", unix.O_RDONLY, 0); err == nil {
		buf := make([]byte, seedSize)
		if n, err := read(fd, buf); err == nil {
			seeds = append(seeds, buf[:n])
		}
		closeFD(fd)
	}
	pool, err := open("/dev/urandom", unix.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open random pool: %w", err)
	}
	defer closeFD(pool)
	for _, s := range seeds {
		if len(s) == 0 {
			continue
		}
		if err := addEntropy(pool, s[:min(len(s), seedSize)]); err != nil {
			return fmt.Errorf("seed random pool: %w", err)
		}
	}
	// The generator itself takes the new seed only from time to time
	// otherwise; for a machine that was cloned that would be too late.
	unix.RawSyscall(unix.SYS_IOCTL, uintptr(pool), unix.RNDRESEEDCRNG, 0)
	return nil
}

// entropy is struct rand_pool_info of the kernel's <linux/random.h>.
type entropy struct {
	bits, size int32
	data       [seedSize]byte
}

func addEntropy(pool int, seed []byte) error {
	e := entropy{bits: int32(8 * len(seed)), size: int32(len(seed))}
	copy(e.data[:], seed)
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(pool), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&e)))
	if errno != 0 {
		return errno
	}
	return nil
}
