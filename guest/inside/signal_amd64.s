#include "textflag.h"

// nothing is a signal handler.
TEXT nothing<>(SB), NOSPLIT|NOFRAME, $0-0
	RET

// back is where it returns to: rt_sigreturn(2), which has the number 15.
TEXT back<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	$15, AX
	SYSCALL
	INT	$3

// func handlers() (handler, restorer uint64)
TEXT ·handlers(SB), NOSPLIT, $0-16
	LEAQ	nothing<>(SB), AX
	MOVQ	AX, handler+0(FP)
	LEAQ	back<>(SB), AX
	MOVQ	AX, restorer+8(FP)
	RET
