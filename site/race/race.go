// Package race does one thing by two ways at once and takes what the earlier good
// one gives. It bounds what the slower one may cost.
package race

import (
	"context"
	"errors"
	"time"
)

// errLost is why the slower of two ways ended.
var errLost = errors.New("another way was faster")

// Patience bounds how long somebody else is waited for, who may then be asked to
// leave it to the caller.
type Patience struct {
	cancel context.CancelCauseFunc
	late   *time.Timer
}

// Wait returns a context that ends, with cause, after limit, unless Over is called
// before. With a limit of zero it ends with ctx only.
func Wait(ctx context.Context, limit time.Duration, cause error) (context.Context, *Patience) {
	waiting, cancel := context.WithCancelCause(ctx)
	p := &Patience{cancel: cancel}
	if limit > 0 {
		p.late = time.AfterFunc(limit, func() { cancel(cause) })
	}
	return waiting, p
}

// Over says that the waiting is over: the context does not end any more.
func (p *Patience) Over() {
	if p.late != nil {
		p.late.Stop()
	}
}

// End ends the context.
func (p *Patience) End() {
	p.Over()
	p.cancel(nil)
}

// Between calls first and second at once and returns what the earlier good one
// gives, when both have ended. After price, second is given up unless first
// failed. The error is that of both.
func Between[T any](ctx context.Context, price time.Duration, first, second func(context.Context) (T, error)) (T, error) {
	type end struct {
		value T
		err   error
	}
	ends := make(chan end, 2)
	start := func(do func(context.Context) (T, error)) context.CancelCauseFunc {
		ctx, cancel := context.WithCancelCause(ctx)
		go func() {
			value, err := do(ctx)
			if err != nil && errors.Is(context.Cause(ctx), errLost) {
				err = errLost
			}
			ends <- end{value, err}
		}()
		return cancel
	}
	stopFirst, stopSecond := start(first), start(second)
	defer stopFirst(nil)
	defer stopSecond(nil)
	late := time.NewTimer(price)
	defer late.Stop()
	var won *end
	var errs []error
	for ended := 0; ended < 2; {
		select {
		case e := <-ends:
			ended++
			if e.err == nil && won == nil {
				won = &e
				stopFirst(errLost)
				stopSecond(errLost)
			} else if e.err != nil {
				errs = append(errs, e.err)
			}
		case <-late.C:
			if len(errs) == 0 { // the first is under way still
				stopSecond(errLost)
			}
		}
	}
	if won != nil {
		return won.value, nil
	}
	var none T
	return none, errors.Join(errs...)
}
