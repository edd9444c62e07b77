package control

import (
	"fmt"
	"strings"
)

// Compare orders two versions as dpkg does (Policy 5.6.12): negative when a is
// older than b, positive when it is newer. Parts that are not valid are
// compared all the same, so that the order is total.
func Compare(a, b string) int {
	if a == b {
		return 0
	}
	ea, ua, ra := split(a)
	eb, ub, rb := split(b)
	if c := compareNumber(ea, eb); c != 0 {
		return c
	}
	if c := comparePart(ua, ub); c != 0 {
		return c
	}
	return comparePart(ra, rb)
}

// CheckVersion says what keeps v from being a version.
func CheckVersion(v string) error {
	epoch, upstream, revision := split(v)
	switch {
	case upstream == "":
		return fmt.Errorf("version %q: no upstream version", v)
	case strings.HasPrefix(v, ":"):
		return fmt.Errorf("version %q: an empty epoch", v)
	case strings.Trim(epoch, "0123456789") != "":
		return fmt.Errorf("version %q: the epoch is not a number", v)
	case strings.HasSuffix(v, "-"):
		return fmt.Errorf("version %q: an empty revision", v)
	}
	for _, c := range []byte(upstream + revision) {
		if !isDigit(c) && !isLetter(c) && !strings.ContainsRune(".+-~:", rune(c)) {
			return fmt.Errorf("version %q: %q is not allowed in it", v, c)
		}
	}
	return nil
}

// split divides a version into epoch, upstream version and revision. The epoch
// ends at the first colon, the revision begins behind the last hyphen.
func split(v string) (epoch, upstream, revision string) {
	if i := strings.IndexByte(v, ':'); i >= 0 {
		epoch, v = v[:i], v[i+1:]
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		v, revision = v[:i], v[i+1:]
	}
	return epoch, v, revision
}

// comparePart compares two upstream versions or two revisions: stretches of
// non-digits by the modified alphabet, stretches of digits as numbers, in turn.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !isDigit(a[0])) || (b != "" && !isDigit(b[0])) {
			if c := weight(a) - weight(b); c != 0 {
				return c
			}
			a, b = tail(a), tail(b)
		}
		na, nb := digits(a), digits(b)
		if c := compareNumber(a[:na], b[:nb]); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return 0
}

// weight places the first byte of s: a tilde before the end, the end (or a
// digit, which ends the stretch) before letters, letters before all else.
func weight(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case isLetter(s[0]):
		return int(s[0])
	}
	return int(s[0]) + 256
}

// tail drops the byte that weight has looked at, but never a digit.
func tail(s string) string {
	if s == "" || isDigit(s[0]) {
		return s
	}
	return s[1:]
}

func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

// compareNumber compares two stretches of digits of any length.
func compareNumber(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
