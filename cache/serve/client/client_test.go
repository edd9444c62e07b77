package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A cache that is down is told with one cause, and what to do, although it was asked
// until there was no time left.
func TestDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{URL: "https://192.0.2.1:7443", Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.http.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // less than all tries take
		defer cancel()
		_, err = c.send(ctx, call{method: http.MethodGet, path: "/v1/images"})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("%v", err)
		}
		if text := err.Error(); strings.Contains(text, "deadline") || strings.Count(text, "refused") != 1 || !strings.Contains(text, "see that 'ore cache serve' runs") {
			t.Errorf("%s", text)
		}
	})
}
