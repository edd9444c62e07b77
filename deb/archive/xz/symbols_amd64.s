#include "go_asm.h"
#include "textflag.h"
#include "symbols_amd64.h"

// The loop over a chunk's symbols, made of the macros in symbols_amd64.h: what
// rangeDecoder, lzma.literals, lzma.match and copyMatch do in Go, with the range
// coder in registers.
//
// The bits of literals and of numbers are as good as random, so no branch
// depends on them: both outcomes are computed, the carry flag of code-bound
// chooses (it is set for 0), and the two probabilities of which one is needed
// for the next bit are loaded while this one is computed. That leaves shift,
// multiplication, subtraction and move between one bit and the next. Branches
// stay where the outcome decides what comes: literal or match, which match,
// which kind of length.
//
// Memory safety. Every index of a probability is made of decoded bits whose
// number is fixed, and of a context that is masked, so it is within its table
// whatever the input is. A distance is compared with what the dictionary holds
// and a length with the room left before anything is copied; copies go in words
// and may overwrite less than slack bytes behind, which the buffer has. A symbol
// reads at most symbolInput bytes of input, which is checked between symbols,
// and the array behind it is far larger.

// func symbols(l *lzma, r *rangeDecoder, w *window) bool
TEXT ·symbols(SB), NOSPLIT, $96-25
	MOVQ l+0(FP), L
	MOVQ w+16(FP), T0
	MOVQ window_buf(T0), T1
	MOVQ window_pos(T0), OUT
	MOVL window_phase(T0), M0
	SUBL T1, M0
	MOVL M0, PHASE
	ADDL M0, M0
	MOVL M0, PHASE2
	MOVQ window_end(T0), M0
	ADDQ T1, M0
	MOVQ M0, OUTEND
	MOVQ window_dict(T0), M0
	MOVL M0, DICT
	MOVQ window_start(T0), M0
	ADDQ T1, M0
	MOVQ M0, START
	ADDQ T1, OUT
	MOVQ r+8(FP), T0
	MOVL rangeDecoder_rng(T0), RNG
	MOVL rangeDecoder_code(T0), CODE
	MOVL rangeDecoder_at(T0), IN
	LEAQ lzma_in(L)(IN*1), IN
	MOVL rangeDecoder_end(T0), T1
	LEAQ lzma_in(L)(T1*1), T1
	MOVQ T1, INEND
	MOVL lzma_rep(L), REP0
	MOVL lzma_rep+4(L), T0
	MOVL T0, REP1
	MOVL lzma_rep+8(L), T0
	MOVL T0, REP2
	MOVL lzma_rep+12(L), T0
	MOVL T0, REP3
	MOVL lzma_posMask(L), T0
	ADDL T0, T0
	MOVL T0, POSMASK2
	MOVL lzma_lpMask(L), M0
	INCL M0
	SHLL $8, M0
	MOVL $0x100, T0
	MOVL lzma_lc(L), T2
	SHRL T2, T0
	SUBL T0, M0
	MOVL M0, LITMASK
	MOVL $(const_literalSize*2/0x100), T0
	SHLL T2, T0
	MOVL T0, SCALE
	MOVL lzma_state(L), STATE
	SHLL $5, STATE

	XORL T1, T1
	CMPQ OUT, START
	JEQ  begin
	MOVBLZX -1(OUT), T1

begin:
	MOVL OUT, T0
	LITERALS
	CMPL STATE, $STATES(const_firstNonLit)
	JCC  afterMatch

afterLiteral:
	KIND(match)
	MOVQ CONTEXT, TREE
	FIRST
	XORL T0, T0
	SUBL $STATES(3), STATE
	CMOVLCS T0, STATE // 0 at least
	BIT(M0, M1, P0, P1)
	BIT(M1, M0, P1, P0)
	BIT(M0, M1, P0, P1)
	BIT(M1, M0, P1, P0)
	MOVL M0, T1 // the next literal's context needs no more bits
	ANDL $15, T1
	SHLL $4, T1
	LEAL 1(OUT), T0
	LITERALS
	BIT(M0, M1, P0, P1)
	BIT(M1, M0, P1, P0)
	BIT(M0, M1, P0, P1)
	LAST(M1, M0, P1)
	MOVB M0, (OUT)
	INCQ OUT
	JMP  afterLiteral

afterMatch:
	KIND(match)
	MOVQ CONTEXT, TREE
	LEAL -STATES(6)(STATE), T0
	SUBL $STATES(3), STATE // 7 at most
	CMPL STATE, $STATES(7)
	CMOVLCC T0, STATE
	MOVQ OUT, T0
	SUBQ REP0, T0
	MOVBLZX -1(T0), P1
	MOVL $1, M0
	MOVL $0x100, M1
	MATCHED
	MATCHED
	MATCHED
	MATCHED
	MATCHED
	MATCHED
	MATCHED
	MATCHED
	MOVQ l+0(FP), L
	MOVB M0, (OUT)
	MOVBLZX M0, T1
	INCQ OUT
	MOVL OUT, T0
	LITERALS
	JMP  afterLiteral

match:
	CHOSEN((T1))
	MOVL STATE, T1
	SHRL $4, T1
	CHOICE(lzma_isRep(L)(T1*1), repeated)
	MOVL REP2, T0
	MOVL T0, REP3
	MOVL REP1, T0
	MOVL T0, REP2
	MOVL REP0, REP1
	MOVL $STATES(7), T0 // by what came before: 7 or 10
	MOVL $STATES(10), T1
	CMPL STATE, T0
	MOVL T1, STATE
	CMOVLCS T0, STATE
	HOWLONG(lzma_matchLen, midMatch, highMatch, distance)

	// The distance begins with its slot, 6 bits.
	MOVQ M1, LENGTH
	LEAL -const_minMatch(M1), T0
	MOVL $(const_lenStates-1), T1
	CMPL T0, T1
	CMOVLHI T1, T0
	SHLL $7, T0
	LEAQ lzma_posSlot(L)(T0*1), TREE
	FIRST
	BIT(M0, M1, P0, P1)
	BIT(M1, M0, P1, P0)
	BIT(M0, M1, P0, P1)
	BIT(M1, M0, P1, P0)
	BIT(M0, M1, P0, P1)
	LAST(M1, M0, P1)
	LEAL -64(M0), REP0
	CMPL REP0, $const_startAlign
	JCS  measured
	MOVL REP0, T2
	SHRL $1, T2
	DECL T2           // the bits that follow
	MOVL REP0, M0
	ANDL $1, M0
	ADDL $2, M0       // the first two bits
	CMPL REP0, $const_endAlign
	JCC  direct

	// Up to five bits have their own probabilities, the lowest bit first.
	// The loop loads probabilities behind the last, which it does not use.
	SHLL T2, M0
	MOVL M0, BASE
	SUBL REP0, M0
	LEAQ lzma_posSpec(L)(M0*2), TREE
	MOVL T2, REP0
	FIRST

lowBits:
	BIT(M0, M1, P0, P1)
	MOVL M1, M0
	MOVL P1, P0
	DECL REP0
	JNE  lowBits
	LEAQ reversed<>(SB), T1
	MOVBLZX (T1)(M0*1), REP0
	ADDL BASE, REP0
	JMP  measured

	// More bits than that: all but four are as likely 0 as 1.
direct:
	SUBL $const_alignBits, T2

directBit:
	NORMALISE
	SHRL $1, RNG
	MOVL CODE, T0
	LEAL 1(M0)(M0*1), M0
	SUBL RNG, CODE
	CMOVLCS T0, CODE
	SBBL $0, M0
	DECL T2
	JNE  directBit
	SHLL $const_alignBits, M0
	MOVL M0, REP0
	LEAQ lzma_posAlign(L), TREE
	FIRST
	BIT(M0, M1, P0, P1)
	BIT(M1, M0, P1, P0)
	BIT(M0, M1, P0, P1)
	LAST(M1, M0, P1)
	LEAQ reversed<>(SB), T1
	MOVBLZX (T1)(M0*1), T0
	ADDL T0, REP0

measured:
	MOVQ LENGTH, M1

	// Copy M1 bytes from REP0+1 before OUT.
copy:
	MOVQ OUT, T0
	SUBQ START, T0
	CMPQ REP0, T0
	JCC  bad
	CMPL REP0, DICT
	JCC  bad
	LEAQ (OUT)(M1*1), T1
	CMPQ T1, OUTEND
	JHI  bad
	MOVQ OUT, M0
	SUBQ REP0, M0
	DECQ M0
	CMPL REP0, $15
	JCS  near

copy16:
	MOVOU (M0), X0
	MOVOU X0, (OUT)
	ADDQ $16, M0
	ADDQ $16, OUT
	CMPQ OUT, T1
	JCS  copy16

copied:
	MOVQ T1, OUT
	MOVBLZX -1(OUT), T1
	MOVL OUT, T0
	LITERALS
	JMP  afterMatch

	// A distance below 8 repeats a pattern: eight bytes are made of it, and
	// the rest is a copy from as far before as repetitions reach 8.
near:
	CMPL REP0, $7
	JCC  copy8
	MOVQ (M0), T0
	LEAQ patterns<>(SB), M0
	SHLL $4, REP0
	ANDQ (M0)(REP0*1), T0
	IMULQ 8(M0)(REP0*1), T0
	SHRL $4, REP0
	MOVQ T0, (OUT)
	LEAQ multiples<>(SB), M0
	MOVBLZX (M0)(REP0*1), T0
	MOVQ OUT, M0
	SUBQ T0, M0
	ADDQ $8, M0
	ADDQ $8, OUT
	CMPQ OUT, T1
	JCC  copied

copy8:
	MOVQ (M0), T0
	MOVQ T0, (OUT)
	ADDQ $8, M0
	ADDQ $8, OUT
	CMPQ OUT, T1
	JCS  copy8
	JMP  copied

	// A distance that was used before.
repeated:
	CHOSEN(lzma_isRep(L)(T1*1))
	CHOICE(lzma_isRepG0(L)(T1*1), notRep0)
	LEAQ lzma_isRep0L(L)(STATE*1), T1
	ADDQ M1, T1
	CHOICE((T1), rep0Long)
	MOVL $STATES(9), T0
	MOVL $STATES(11), T1
	CMPL STATE, $STATES(const_firstNonLit)
	MOVL T1, STATE
	CMOVLCS T0, STATE
	MOVL $1, M1
	JMP  copy

rep0Long:
	CHOSEN((T1))
	JMP repeatedLength

notRep0:
	CHOSEN(lzma_isRepG0(L)(T1*1))
	CHOICE(lzma_isRepG1(L)(T1*1), notRep1)
	MOVL REP1, T0
	JMP  second

notRep1:
	CHOSEN(lzma_isRepG1(L)(T1*1))
	CHOICE(lzma_isRepG2(L)(T1*1), notRep2)
	MOVL REP2, T0
	JMP  third

notRep2:
	CHOSEN(lzma_isRepG2(L)(T1*1))
	MOVL REP3, T0
	MOVL REP2, T2
	MOVL T2, REP3

third:
	MOVL REP1, T2
	MOVL T2, REP2

second:
	MOVL REP0, REP1
	MOVL T0, REP0

repeatedLength:
	MOVL $STATES(8), T0
	MOVL $STATES(11), T1
	CMPL STATE, $STATES(const_firstNonLit)
	MOVL T1, STATE
	CMOVLCS T0, STATE
	HOWLONG(lzma_repLen, midRepeated, highRepeated, copyRepeated)
	JMP  copy

bad:
	MOVB $0, ret+24(FP)
	JMP  store

done:
	MOVB $1, ret+24(FP)

store:
	SHRL $5, STATE
	MOVL STATE, lzma_state(L)
	MOVL REP0, lzma_rep(L)
	MOVL REP1, T0
	MOVL T0, lzma_rep+4(L)
	MOVL REP2, T0
	MOVL T0, lzma_rep+8(L)
	MOVL REP3, T0
	MOVL T0, lzma_rep+12(L)
	MOVQ r+8(FP), T0
	MOVL RNG, rangeDecoder_rng(T0)
	MOVL CODE, rangeDecoder_code(T0)
	LEAQ lzma_in(L), T1
	SUBQ T1, IN
	MOVL IN, rangeDecoder_at(T0)
	MOVQ w+16(FP), T0
	SUBQ window_buf(T0), OUT
	MOVQ OUT, window_pos(T0)
	RET

// reversed holds the bits of a number in the other order: those behind its
// highest 1.
DATA reversed<>+0(SB)/8, $0x0301020001000000
DATA reversed<>+8(SB)/8, $0x0703050106020400
DATA reversed<>+16(SB)/8, $0x0e060a020c040800
DATA reversed<>+24(SB)/8, $0x0f070b030d050901
DATA reversed<>+32(SB)/8, $0x1c0c140418081000
DATA reversed<>+40(SB)/8, $0x1e0e16061a0a1202
DATA reversed<>+48(SB)/8, $0x1d0d150519091101
DATA reversed<>+56(SB)/8, $0x1f0f17071b0b1303
GLOBL reversed<>(SB), RODATA|NOPTR, $64

// patterns: what repeats at the distances 1 to 7, as a mask, and the factor
// that repeats it.
DATA patterns<>+0(SB)/8, $0xff
DATA patterns<>+8(SB)/8, $0x0101010101010101
DATA patterns<>+16(SB)/8, $0xffff
DATA patterns<>+24(SB)/8, $0x0001000100010001
DATA patterns<>+32(SB)/8, $0xffffff
DATA patterns<>+40(SB)/8, $0x0001000001000001
DATA patterns<>+48(SB)/8, $0xffffffff
DATA patterns<>+56(SB)/8, $0x0000000100000001
DATA patterns<>+64(SB)/8, $0xffffffffff
DATA patterns<>+72(SB)/8, $0x0000010000000001
DATA patterns<>+80(SB)/8, $0xffffffffffff
DATA patterns<>+88(SB)/8, $0x0001000000000001
DATA patterns<>+96(SB)/8, $0xffffffffffffff
DATA patterns<>+104(SB)/8, $0x0100000000000001
GLOBL patterns<>(SB), RODATA|NOPTR, $112

// multiples are the least multiples of the distances 1 to 7 from 8 on.
DATA multiples<>+0(SB)/8, $0x000e0c0a08090808
GLOBL multiples<>(SB), RODATA|NOPTR, $8
