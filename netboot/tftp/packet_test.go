package tftp

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRequest(t *testing.T) {
	for _, c := range []struct {
		summary, packet string
		want            request
		code            int // of the refusal, -1 for silence, -2 for none
	}{
		{"plain", "\x00\x01boot\x00octet\x00", request{name: "boot"}, -2},
		{"mode in capitals", "\x00\x01boot\x00OCTET\x00", request{name: "boot"}, -2},
		{"all options", "\x00\x01b\x00octet\x00BLKSIZE\x001432\x00tsize\x000\x00windowsize\x004\x00timeout\x002\x00",
			request{"b", options{block: 1432, timeout: 2, window: 4, size: true}}, -2},
		{"unknown option", "\x00\x01b\x00octet\x00multicast\x00\x00", request{name: "b"}, -2},
		{"octets behind the end", "\x00\x01b\x00octet\x00\xff\xff", request{name: "b"}, -2},
		{"block above the RFC's limit", "\x00\x01b\x00octet\x00blksize\x0099999\x00", request{"b", options{block: maxBlock}}, -2},
		{"block below it", "\x00\x01b\x00octet\x00blksize\x007\x00", request{}, codeOptions},
		{"window of nothing", "\x00\x01b\x00octet\x00windowsize\x000\x00", request{}, codeOptions},
		{"negative timeout", "\x00\x01b\x00octet\x00timeout\x00-1\x00", request{}, codeOptions},
		{"write", "\x00\x02boot\x00octet\x00", request{}, codeAccess},
		{"text", "\x00\x01boot\x00netascii\x00", request{}, codeUndefined},
		{"no name", "\x00\x01\x00octet\x00", request{}, codeIllegal},
		{"no mode", "\x00\x01boot\x00", request{}, codeIllegal},
		{"no end", "\x00\x01boot", request{}, codeIllegal},
		{"long name", "\x00\x01" + strings.Repeat("x", 256) + "\x00octet\x00", request{}, codeIllegal},
		{"many options", "\x00\x01b\x00octet\x00" + strings.Repeat("a\x00b\x00", 17), request{}, codeIllegal},
		{"an error is not answered", "\x00\x05\x00\x00no\x00", request{}, -1},
		{"an acknowledgement is not answered", "\x00\x04\x00\x01", request{}, -1},
		{"nothing", "", request{}, -1},
	} {
		got, err := parseRequest([]byte(c.packet))
		var r *refusal
		switch {
		case c.code >= 0 && (!errors.As(err, &r) || int(r.code) != c.code):
			t.Errorf("%s: error %v, want code %d", c.summary, err, c.code)
		case c.code == -1 && !errors.Is(err, errSilence):
			t.Errorf("%s: error %v, want silence", c.summary, err)
		case c.code == -2 && err != nil:
			t.Errorf("%s: %v", c.summary, err)
		}
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(request{}, options{})); d != "" {
			t.Errorf("%s: %s", c.summary, d)
		}
	}
}

func TestOptionsAreAcknowledged(t *testing.T) {
	o := options{block: 1432, timeout: 2, window: 4, size: true}
	want := "\x00\x06blksize\x001432\x00timeout\x002\x00windowsize\x004\x00tsize\x0070000\x00"
	if got := string(o.oack(70000)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("\x00\x01boot\x00octet\x00blksize\x001432\x00tsize\x000\x00windowsize\x004\x00"))
	f.Add([]byte("\x00\x02b\x00netascii\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err != nil {
			var no *refusal
			if !errors.As(err, &no) && !errors.Is(err, errSilence) {
				t.Fatalf("error %v is neither a refusal nor silence", err)
			}
			return
		}
		o := r.options
		if r.name == "" || len(r.name) > maxName || o.block != 0 && o.block < minBlock || o.block > maxBlock ||
			o.timeout > maxTimeout || o.window > 65535 || min(o.block, o.timeout, o.window) < 0 {
			t.Fatalf("%q: %+v", b, r)
		}
	})
}

func FuzzParseAck(f *testing.F) {
	f.Add([]byte("\x00\x04\x00\x01"))
	f.Add([]byte("\x00\x05\x00\x08no\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := parseAck(b)
		var c *clientError
		if err != nil && !errors.As(err, &c) && !errors.Is(err, errSilence) {
			t.Fatalf("error %v", err)
		}
	})
}
