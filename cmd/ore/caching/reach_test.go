package caching

import (
	"net"
	"strings"
	"testing"
	"time"

	"ore/cache/serve/client"
)

// A cache that takes connections and says nothing is given up in time, with a
// hint.
func TestSilentCacheIsGivenUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes the connections
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := client.New(client.Config{URL: "https://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begun := time.Now()
	err = reach(t.Context(), c, 200*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "ore cache serve") || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("the error is %v", err)
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}
