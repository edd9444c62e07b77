package xz

import "encoding/binary"

// x86 undoes the filter that made the operands of CALL and JMP in x86 code
// absolute, so that equal targets gave equal bytes (filter 0x04). The filter
// has to guess which bytes are instructions; it looks at the operand's highest
// byte, and at the opcodes that it met in the four bytes before, and the
// decoder repeats the guess.
type x86 struct {
	pos  uint32 // of the next byte that undo is given
	mask uint32 // one bit for each of the last bytes that looked like an opcode
}

// operandSize is what an instruction may need behind its opcode.
const operandSize = 4

// signByte tells whether an operand's highest byte is that of a small number.
func signByte(b byte) bool { return b == 0 || b == 0xff }

// undo decodes b in place as far as that is possible and returns how far: up
// to four bytes at the end must be given again, with what follows.
func (x *x86) undo(b []byte) int {
	if len(b) <= operandSize {
		return 0
	}
	last := -1 // the opcode before
	i := 0
	for ; i < len(b)-operandSize; i++ {
		if b[i]&0xfe != 0xe8 {
			continue
		}
		x.forget(i - last)
		last = i
		if x.mask != 0 && !x.plausible(b[i:]) {
			x.mask = x.mask<<1 | 1
			continue
		}
		if !signByte(b[i+4]) {
			x.mask = x.mask<<1 | 1
			continue
		}
		binary.LittleEndian.PutUint32(b[i+1:], x.operand(binary.LittleEndian.Uint32(b[i+1:]), x.pos+uint32(i)+5))
		i += operandSize
	}
	x.forget(i - last)
	x.pos += uint32(i)
	return i
}

// forget shifts the mask by the distance from one opcode to the next.
func (x *x86) forget(distance int) {
	if distance > 3 {
		x.mask = 0
		return
	}
	x.mask = x.mask << (distance - 1) & 7
}

// reach is the number of the operand's byte, from its end, that an earlier
// opcode's operand would share.
func (x *x86) reach() uint32 {
	switch {
	case x.mask == 0:
		return 0
	case x.mask == 1:
		return 1
	case x.mask <= 3:
		return 2
	}
	return 3
}

// plausible tells whether an opcode that follows others closely counts.
func (x *x86) plausible(b []byte) bool {
	switch x.mask {
	case 1, 2, 4:
		return !signByte(b[4-x.reach()])
	}
	return false
}

// operand makes an absolute operand relative to the instruction's end.
func (x *x86) operand(v, end uint32) uint32 {
	for {
		d := v - end
		if x.mask != 0 {
			shift := 8 * x.reach()
			if signByte(byte(d >> (24 - shift))) {
				v = d ^ (1<<(32-shift) - 1)
				continue
			}
		}
		d &= 1<<25 - 1
		if d&(1<<24) != 0 {
			d |= 0xff << 24
		}
		return d
	}
}
