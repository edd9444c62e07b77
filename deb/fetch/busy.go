package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxWait bounds what a server may ask for with Retry-After: who waits longer than
	// for one that says nothing has better asked another one.
	maxWait = defaultStall
	// comeAgain is what Busy asks for. The client itself adds some chance to it.
	comeAgain = time.Second
	// waits is the preference that says how many seconds one waits for an answer to
	// begin (RFC 7240, section 4.3).
	waits = "wait="
)

// preferWait tells a server how long its answer may take to begin.
func preferWait(r *http.Request, d time.Duration) {
	if n := int(d / time.Second); n > 0 {
		r.Header.Set("Prefer", waits+strconv.Itoa(n))
	}
}

// Wait returns how long a client says that it waits for an answer to begin. It is 0 if
// it says nothing: Busy is then no answer for it.
func Wait(r *http.Request) time.Duration {
	for _, line := range r.Header.Values("Prefer") {
		for one := range strings.SplitSeq(line, ",") {
			one, _, _ = strings.Cut(one, ";")
			value, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(one)), waits)
			if n, err := strconv.ParseUint(value, 10, 16); ok && err == nil {
				return time.Duration(n) * time.Second
			}
		}
	}
	return 0
}

// Busy answers that others are served first. A client that said how long it waits
// takes that for no trouble of the server's, and asks again.
func Busy(w http.ResponseWriter, r *http.Request, why error) {
	if d := Wait(r); d > 0 {
		w.Header().Set("Preference-Applied", fmt.Sprint(waits, int(d/time.Second)))
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(comeAgain/time.Second)))
	Refuse(w, http.StatusServiceUnavailable, why)
}

// busy says whether a server said so.
func busy(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.busy
}

// asked returns what a server asks for that is not ready, in whole seconds: a date
// (RFC 9110, section 10.2.3) depends on its clock.
func asked(resp *http.Response) (wait time.Duration, busy bool) {
	n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 32)
	if err != nil {
		return 0, false
	}
	busy = resp.StatusCode == http.StatusServiceUnavailable && strings.HasPrefix(resp.Header.Get("Preference-Applied"), waits)
	return min(time.Duration(n)*time.Second, maxWait), busy
}
