package job

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"

	"ore"
)

// ParseSize reads a number of bytes: digits with an optional K, M, G or T, in
// powers of 1024, and an optional B or iB after it.
func ParseSize(s string) (int64, error) {
	t := strings.TrimSuffix(strings.TrimSuffix(s, "B"), "i")
	shift := 0
	if t != "" {
		switch t[len(t)-1] {
		case 'K', 'k':
			shift = 10
		case 'M', 'm':
			shift = 20
		case 'G', 'g':
			shift = 30
		case 'T', 't':
			shift = 40
		}
		if shift > 0 {
			t = t[:len(t)-1]
		}
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("size %q: not a number of bytes such as 256M or 20G", s)
	}
	return n << shift, nil
}

// FormatSize is the inverse of ParseSize, in the largest unit that is exact.
func FormatSize(n int64) string {
	for _, u := range []struct {
		shift int
		name  string
	}{{40, "T"}, {30, "G"}, {20, "M"}, {10, "K"}} {
		if n != 0 && n%(1<<u.shift) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// ParseWish reads a package as apt takes it on the command line: name or
// name=version.
func ParseWish(s string) (ore.Wish, error) {
	name, version, pinned := strings.Cut(s, "=")
	if !packageName(name) {
		return ore.Wish{}, fmt.Errorf("package %q: not a package name: lower-case letters, digits and + - . (Debian Policy 5.6.7)", s)
	}
	if pinned && version == "" {
		return ore.Wish{}, fmt.Errorf("package %q: no version after the equals sign", s)
	}
	if strings.ContainsAny(version, " \t\n/") {
		return ore.Wish{}, fmt.Errorf("package %q: malformed version", s)
	}
	return ore.Wish{Name: name, Version: version}, nil
}

// packageName follows Debian Policy 5.6.7 but for an architecture after a colon.
func packageName(s string) bool {
	if len(s) < 2 {
		return false
	}
	for i, c := range []byte(s) {
		lower := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !lower && (i == 0 || !strings.ContainsRune("+-.", rune(c))) {
			return false
		}
	}
	return true
}

// ParseBase reads distribution/suite; a suite alone is Debian's.
func ParseBase(s string) (ore.Base, error) {
	d, suite, ok := strings.Cut(s, "/")
	if !ok {
		d, suite = "debian", s
	}
	if d != "debian" && d != rpmBase {
		return ore.Base{}, fmt.Errorf("base %q: unknown distribution %q: use debian/SUITE, or rpm/NAME with repositories", s, d)
	}
	if !plainName(suite) {
		return ore.Base{}, fmt.Errorf("base %q: malformed suite: use a name such as debian/bookworm", s)
	}
	return ore.Base{Distribution: d, Suite: suite}, nil
}

// plainName says whether s is a name of letters, digits, dots, underscores and
// hyphens that begins with a letter or digit.
func plainName(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return false
		}
	}
	return true
}

// ParsePort reads what --publish takes: [ADDRESS:]PORT:[RANK:]PORT. The address
// is 127.0.0.1 and the rank 0 unless said; a host port 0 lets the system choose.
func ParsePort(s string) (ore.Port, error) {
	bad := fmt.Errorf("port %q: not [address:]port:[rank:]port, such as 8080:80 or 127.0.0.1:8081:1:80", s)
	host, rest := "127.0.0.1", s
	if strings.HasPrefix(s, "[") {
		end := strings.Index(s, "]:")
		if end < 0 {
			return ore.Port{}, bad
		}
		host, rest = s[1:end], s[end+2:]
	} else if f := strings.Split(s, ":"); len(f) == 4 || len(f) == 3 && net.ParseIP(f[0]) != nil {
		host, rest = f[0], strings.Join(f[1:], ":")
	}
	f := strings.Split(rest, ":")
	if len(f) == 2 {
		f = []string{f[0], "0", f[1]}
	}
	if len(f) != 3 || net.ParseIP(host) == nil {
		return ore.Port{}, bad
	}
	listen, err1 := strconv.ParseUint(f[0], 10, 16)
	rank, err2 := strconv.ParseUint(f[1], 10, 16)
	port, err3 := strconv.ParseUint(f[2], 10, 16)
	if err1 != nil || err2 != nil || err3 != nil || port == 0 {
		return ore.Port{}, bad
	}
	return ore.Port{Listen: net.JoinHostPort(host, strconv.FormatUint(listen, 10)), Rank: int(rank), Port: int(port)}, nil
}
