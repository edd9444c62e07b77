package seccomp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// TestAssemble runs an assembled program on calls.
func TestAssemble(t *testing.T) {
	rules := []Rule{
		{Number: unix.SYS_FSYNC, Action: Succeed},
		{Number: unix.SYS_MKNODAT, Action: Notify, Arg: 2, Mask: unix.S_IFMT, Want: unix.S_IFCHR},
		{Number: unix.SYS_MKNODAT, Action: Notify, Arg: 2, Mask: unix.S_IFMT, Want: unix.S_IFBLK},
		{Number: unix.SYS_OPEN, Action: Notify, Arg: 1, Mask: unix.O_CREAT, Any: true},
		{Number: unix.SYS_CHOWN, Action: Notify},
		{Number: unix.SYS_PRCTL, Action: Notify, Mask: 0xffff_ffff, Want: unix.PR_SET_KEEPCAPS},
	}
	const allow = uint32(unix.SECCOMP_RET_ALLOW)
	for _, c := range []struct {
		summary string
		number  int
		args    [6]uint64
		want    uint32
	}{
		{"the first rule", unix.SYS_FSYNC, [6]uint64{3}, Succeed},
		{"no rule", unix.SYS_READ, [6]uint64{3}, allow},
		{"a character device", unix.SYS_MKNODAT, [6]uint64{0, 0, unix.S_IFCHR | 0o600, 5}, Notify},
		{"a block device, by the second rule for its call", unix.SYS_MKNODAT, [6]uint64{0, 0, unix.S_IFBLK | 0o600, 5}, Notify},
		{"a pipe", unix.SYS_MKNODAT, [6]uint64{0, 0, unix.S_IFIFO | 0o600, 5}, allow},
		{"one bit of many", unix.SYS_OPEN, [6]uint64{0, unix.O_CREAT | unix.O_RDWR}, Notify},
		{"none of the bits", unix.SYS_OPEN, [6]uint64{unix.O_CREAT, unix.O_RDWR}, allow},
		{"a call after rules with arguments", unix.SYS_CHOWN, [6]uint64{}, Notify},
		{"the last rule", unix.SYS_PRCTL, [6]uint64{unix.PR_SET_KEEPCAPS, 1}, Notify},
		{"another argument", unix.SYS_PRCTL, [6]uint64{unix.PR_SET_NAME}, allow},
	} {
		for _, arch := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386} {
			want := c.want
			if arch != unix.AUDIT_ARCH_X86_64 {
				want = allow
			}
			if got := decide(t, assemble(rules), arch, c.number, c.args); got != want {
				t.Errorf("%s, architecture %x: %#x, want %#x", c.summary, arch, got, want)
			}
		}
	}
}

// decide interprets a filter. Struct seccomp_data is in the host's byte order,
// the interpreter reads packets, whose order is big-endian.
func decide(t *testing.T, p []unix.SockFilter, arch uint32, number int, args [6]uint64) uint32 {
	t.Helper()
	var program []bpf.Instruction
	for _, f := range p {
		program = append(program, bpf.RawInstruction{Op: f.Code, Jt: f.Jt, Jf: f.Jf, K: f.K}.Disassemble())
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	data := binary.BigEndian.AppendUint32(nil, uint32(number))
	data = binary.BigEndian.AppendUint32(data, arch)
	data = binary.BigEndian.AppendUint64(data, 0)
	for _, a := range args {
		data = binary.BigEndian.AppendUint32(data, uint32(a))
		data = binary.BigEndian.AppendUint32(data, uint32(a>>32))
	}
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}
