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
