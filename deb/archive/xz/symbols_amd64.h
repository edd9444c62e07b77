// What symbols_amd64.s is made of: registers, locals, and the range decoder.

// Registers. T2 is CX since shifts need it.
#define T0    AX
#define T1    R11
#define T2    CX
#define RNG   BX  // the range coder
#define CODE  R15
#define IN    SI  // next byte of input
#define OUT   DI  // next byte of output
#define L     R8  // *lzma
#define STATE R13 // times 32, the size of a row of isMatch
#define REP0  BP
#define TREE  R12 // probabilities of the number that is decoded
#define M0    DX  // its bits so far behind a 1, in turns
#define M1    R14
#define P0    R9  // probability of the next bit, in turns
#define P1    R10

#define STATES(n) ((n)*32)

// Locals.
#define CONTEXT  context-8(SP)  // the next literal's probabilities
#define OUTEND   outEnd-16(SP)
#define INEND    inEnd-24(SP)
#define START    start-32(SP)   // the dictionary's first byte
#define LENGTH   length-40(SP)  // of the match
#define SCALE    scale-48(SP)   // bytes of probabilities for each of a context's 256ths
#define REP1     rep1-52(SP)
#define REP2     rep2-56(SP)
#define REP3     rep3-60(SP)
#define DICT     dict-64(SP)
#define PHASE    phase-68(SP)   // OUT+PHASE is the position that contexts depend on
#define PHASE2   phase2-72(SP)  // twice that
#define POSMASK2 posMask2-76(SP)
#define LITMASK  litMask-80(SP) // of position<<8 + the byte before
#define BASE     base-84(SP)    // of the distance

// NORMALISE takes a byte of input when the range has become small.
#define NORMALISE \
	CMPL RNG, $const_rangeTop; \
	JCC  5(PC); \
	SHLL $8, RNG; \
	SHLL $8, CODE; \
	MOVB (IN), CODE; \
	INCQ IN

// BOUND computes where the part of the range that stands for 0 ends.
#define BOUND(p) \
	MOVL  RNG, T0; \
	SHRL  $const_probBits, T0; \
	IMULL p, T0

// BIT appends a bit to the number, from m to n, and gets the probability for
// the next from p to q. Subtracting (p - ZEROSTEP)>>5 for 0 or p>>5 for 1
// moves p towards what was decoded.
#define ZEROSTEP ((1<<const_probBits) - (1<<const_probShift) + 1)
#define BIT(m, n, p, q) \
	NORMALISE; \
	BOUND(p); \
	MOVWLZX (TREE)(m*4), q; \
	MOVWLZX 2(TREE)(m*4), T1; \
	LEAL    1(m)(m*1), n; \
	MOVL    CODE, T2; \
	SUBL    T0, RNG; \
	SUBL    T0, CODE; \
	CMOVLCS T0, RNG; \
	CMOVLCS T2, CODE; \
	CMOVLCC T1, q; \
	LEAL    -ZEROSTEP(p), T0; \
	CMOVLCC p, T0; \
	SBBL    $0, n; \
	SARL    $const_probShift, T0; \
	SUBL    T0, p; \
	MOVW    p, (TREE)(m*2)

// LAST is BIT for a number's last bit.
#define LAST(m, n, p) \
	NORMALISE; \
	BOUND(p); \
	LEAL    1(m)(m*1), n; \
	MOVL    CODE, T2; \
	SUBL    T0, RNG; \
	SUBL    T0, CODE; \
	CMOVLCS T0, RNG; \
	CMOVLCS T2, CODE; \
	LEAL    -ZEROSTEP(p), T0; \
	CMOVLCC p, T0; \
	SBBL    $0, n; \
	SARL    $const_probShift, T0; \
	SUBL    T0, p; \
	MOVW    p, (TREE)(m*2)

// FIRST begins a number.
#define FIRST \
	MOVL    $1, M0; \
	MOVWLZX 2(TREE), P0

// MATCHED is a bit of a literal behind a match. The byte that would have
// continued the match, P1, chooses among further probabilities for as long as
// its bits are those decoded; M1 is 0x100 until then. L is overwritten.
#define MATCHED \
	SHLL    $1, P1; \
	MOVL    P1, T1; \
	LEAL    (M0)(M1*1), P0; \
	LEAQ    (TREE)(P0*2), L; \
	ANDL    M1, T1; \
	MOVWLZX (L)(T1*2), P0; \
	XORL    T1, M1; \
	NORMALISE; \
	BOUND(P0); \
	LEAL    1(M0)(M0*1), M0; \
	MOVL    CODE, T2; \
	SUBL    T0, RNG; \
	SUBL    T0, CODE; \
	CMOVLCS T0, RNG; \
	CMOVLCS T2, CODE; \
	CMOVLCC T1, M1; \
	LEAL    -ZEROSTEP(P0), T0; \
	CMOVLCC P0, T0; \
	SBBL    $0, M0; \
	SARL    $const_probShift, T0; \
	SUBL    T0, P0; \
	MOVW    P0, (L)(T1*2)

// CHOICE decodes a bit that decides what comes, and jumps if it is 1; what is
// jumped to begins with CHOSEN.
#define CHOICE(prob, one) \
	MOVWLZX prob, P0; \
	NORMALISE; \
	BOUND(P0); \
	CMPL    CODE, T0; \
	JCC     one; \
	MOVL    T0, RNG; \
	MOVL    $(1<<const_probBits), T2; \
	SUBL    P0, T2; \
	SHRL    $const_probShift, T2; \
	ADDL    T2, P0; \
	MOVW    P0, prob

#define CHOSEN(prob) \
	SUBL T0, RNG; \
	SUBL T0, CODE; \
	MOVL P0, T2; \
	SHRL $const_probShift, T2; \
	SUBL T2, P0; \
	MOVW P0, prob

// KIND begins a symbol, unless the chunk ends: is it a literal, or a match? M1
// becomes twice the position's low bits, T1 the probability's address.
#define KIND(one) \
	CMPQ OUT, OUTEND; \
	JCC  done; \
	CMPQ IN, INEND; \
	JHI  done; \
	LEAL (OUT)(OUT*1), M1; \
	ADDL PHASE2, M1; \
	ANDL POSMASK2, M1; \
	LEAQ lzma_isMatch(L)(STATE*1), T1; \
	ADDQ M1, T1; \
	CHOICE((T1), one)

// LITERALS computes the probabilities of a literal at OUT+T0, where T1 is the
// byte before, or its first four bits.
#define LITERALS \
	ADDL  PHASE, T0; \
	SHLL  $8, T0; \
	ORL   T1, T0; \
	ANDL  LITMASK, T0; \
	IMULL SCALE, T0; \
	LEAQ  lzma_literal(L)(T0*1), T0; \
	MOVQ  T0, CONTEXT

// SMALL decodes 3 bits of a length: to M1, behind a 1.
#define SMALL \
	FIRST; \
	BIT(M0, M1, P0, P1); \
	BIT(M1, M0, P1, P0); \
	LAST(M0, M1, P0)

// HOWLONG decodes a match's length to M1. It needs twice the position's low
// bits there.
#define HOWLONG(table, notLow, high, ready) \
	CHOICE(table+lengths_choice(L), notLow); \
	LEAQ (L)(M1*8), TREE; \
	ADDQ $(table+lengths_low), TREE; \
	SMALL; \
	SUBL $(8-const_minMatch), M1; \
	JMP  ready; \
notLow: \
	CHOSEN(table+lengths_choice(L)); \
	CHOICE(table+lengths_choice2(L), high); \
	LEAQ (L)(M1*8), TREE; \
	ADDQ $(table+lengths_mid), TREE; \
	SMALL; \
	ADDL $(const_minMatch+const_lowLen-8), M1; \
	JMP  ready; \
high: \
	CHOSEN(table+lengths_choice2(L)); \
	LEAQ (table+lengths_high)(L), TREE; \
	FIRST; \
	BIT(M0, M1, P0, P1); \
	BIT(M1, M0, P1, P0); \
	BIT(M0, M1, P0, P1); \
	BIT(M1, M0, P1, P0); \
	BIT(M0, M1, P0, P1); \
	BIT(M1, M0, P1, P0); \
	BIT(M0, M1, P0, P1); \
	LAST(M1, M0, P1); \
	LEAL (const_minMatch+const_lowLen+const_lowLen-256)(M0), M1; \
ready:
