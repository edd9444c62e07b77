package qemu

import "time"

// readTSC reads the processor's time stamp counter.
func readTSC() uint64

// tscSpan is how long the counter is watched: two clock readings that are some
// 100 ns off then give its rate to a hundred-thousandth.
const tscSpan = 10 * time.Millisecond

// tscRate measures the rate of the time stamp counter in kHz.
//
// A guest under TCG sees the host's counter. It measures the rate itself at
// boot, by a timer that QEMU emulates; when QEMU is descheduled meanwhile the
// result is wrong, by a factor of ten on a busy host, and so is all time in the
// machine. So the kernel is told (tsc_early_khz, kernel-parameters.txt).
func tscRate() uint64 {
	begun, first := time.Now(), readTSC()
	for time.Since(begun) < tscSpan {
	}
	took, last := time.Since(begun), readTSC()
	return (last - first) * uint64(time.Millisecond) / uint64(took)
}
