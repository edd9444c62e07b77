package site

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/plan"
	"ore/site/remote"
)

// A cache that does not answer is passed over, and that is told.
func TestCacheThatFailsIsTold(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // so that nobody is there
	c, err := remote.Open(remote.Address{URL: "https://" + l.Addr().String()}, remote.Local{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var told []ore.Event
	m := &images{site: &Site{}, watch: func(e ore.Event) { told = append(told, e) }}
	// Long enough for a busy computer to be refused once; it is tried again up to then.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if found := m.ask(ctx, c, ore.Environment{}, plan.Have{}); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	if len(told) != 1 || told[0].Stage != "note" || !strings.Contains(told[0].Text, l.Addr().String()) || !strings.Contains(told[0].Text, "connection refused") {
		t.Errorf("told: %v", told)
	}
}
