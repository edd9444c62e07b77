#include "textflag.h"

// FOLD replaces the 16 bytes in v by others with the same remainder which
// stand as many bytes later as the constants in X5 say: the low half is
// multiplied by one of them and the high half by the other.
#define FOLD(v) \
	MOVOA     v, X6; \
	PCLMULQDQ $0x00, X5, v; \
	PCLMULQDQ $0x11, X5, X6; \
	PXOR      X6, v

// NEXT folds v 64 bytes further, onto the 16 bytes there.
#define NEXT(v, at) \
	FOLD(v); \
	MOVOU at(SI), X7; \
	PXOR  X7, v

// func fold(v *[16]byte, crc uint64, p *byte, n int)
TEXT ·fold(SB), NOSPLIT, $0-32
	MOVQ  v+0(FP), DI
	MOVQ  crc+8(FP), X4
	MOVQ  p+16(FP), SI
	MOVQ  n+24(FP), CX
	MOVOU 0(SI), X0
	MOVOU 16(SI), X1
	MOVOU 32(SI), X2
	MOVOU 48(SI), X3
	PXOR  X4, X0
	MOVOU by64<>(SB), X5

loop:
	SUBQ $64, CX
	JLE  merge
	ADDQ $64, SI
	NEXT(X0, 0)
	NEXT(X1, 16)
	NEXT(X2, 32)
	NEXT(X3, 48)
	JMP  loop

merge:
	MOVOU by16<>(SB), X5
	FOLD(X0)
	PXOR  X1, X0
	FOLD(X0)
	PXOR  X2, X0
	FOLD(X0)
	PXOR  X3, X0
	MOVOU X0, (DI)
	RET

// The constants are powers of x modulo the polynomial, their bits reflected:
// x^(n+63) for the low half and x^(n-1) for the high, which stands 64 bits
// later, n being the distance in bits. The 1 less makes up for the product of
// two reflected numbers being shifted by one.
DATA by64<>+0(SB)/8, $0x6ae3efbb9dd441f3
DATA by64<>+8(SB)/8, $0x081f6054a7842df4
GLOBL by64<>(SB), RODATA|NOPTR, $16
DATA by16<>+0(SB)/8, $0xe05dd497ca393ae4
DATA by16<>+8(SB)/8, $0xdabe95afc7875f40
GLOBL by16<>(SB), RODATA|NOPTR, $16
