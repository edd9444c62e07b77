package conduct_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"ore/chain"
	"ore/chain/conduct"
)

// crowd is one transfer to many hosts in virtual time.
type crowd struct {
	hosts, size int
	rate        float64 // of each host's link, bytes a second
	slow        int     // this host has a tenth of it; below zero, none
	seed        uint64
}

// play returns the result, and how long it took until all but the slow host had
// the blob.
func (c crowd) play(t *testing.T) (r conduct.Result, took time.Duration) {
	b, _, name := blob(t, c.size)
	ideal := time.Duration(float64(c.size) / c.rate * float64(time.Second))
	var err error
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*ideal)
		defer cancel()
		n := newNetwork(c.seed)
		defer n.end()
		at := n.add("source", c.rate)
		source, p := at.peer(t, ctx)
		defer p.Close()
		if err := offer(p, b, name); err != nil {
			t.Fatal(err)
		}
		left := c.hosts
		if c.slow >= 0 {
			left--
		}
		begun := time.Now()
		tr := conduct.Transfer{Blob: b, Source: source, Done: func(conduct.Outcome) {
			if left--; left == 0 {
				took = time.Since(begun)
			}
		}}
		for i := range c.hosts {
			rate := c.rate
			if i == c.slow {
				rate /= 10
			}
			h, p := n.add(fmt.Sprint("h", i), rate).peer(t, t.Context())
			defer p.Close()
			tr.Receivers = append(tr.Receivers, h)
		}
		r, err = conduct.New(conduct.Config{Dialer: chain.Dialer{Dial: at.dial}}).Send(ctx, tr)
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d hosts, %d bytes, slow %d, seed %d: %s of %d in %.2f s, eta %.3f, %d repairs", c.hosts, c.size, c.slow, c.seed, r.Kind, r.Stripes, took.Seconds(), ideal.Seconds()/max(took, 1).Seconds(), len(r.Repairs))
	for _, p := range r.Repairs {
		t.Logf("repair at %v: %s %s", p.After, p.Host, p.What)
	}
	return r, took
}

// TestOneRepairDoesNotCauseTheNext has many hosts whose streams share their links
// unevenly, in trees and in a chain. No host is slower than another. In trees a
// stream that gets next to nothing may look like a slow host, once: hosts moved one
// after another, each for what the last move did to the links, never end.
func TestOneRepairDoesNotCauseTheNext(t *testing.T) {
	for _, c := range []struct {
		crowd
		repairs int
		least   float64 // eta
	}{
		{crowd{hosts: 64, size: 8 << 20, rate: 600e3, slow: -1, seed: 1}, 1, 0.5},
		{crowd{hosts: 16, size: 8 << 20, rate: 2.4e6, slow: -1, seed: 3}, 0, 0.88},
	} {
		r, took := c.play(t)
		if len(r.Repairs) > c.repairs {
			t.Errorf("%d hosts on equal links: %d repairs, want at most %d", c.hosts, len(r.Repairs), c.repairs)
		}
		if took == 0 || took.Seconds() > float64(c.size)/c.rate/c.least {
			t.Errorf("%d hosts: %v, want eta %.2f", c.hosts, took, c.least)
		}
	}
}

// TestOneSlowHostIsMovedAlone has one host whose link is ten times slower: it goes to
// the tail, no other does, and these hardly wait.
func TestOneSlowHostIsMovedAlone(t *testing.T) {
	for _, c := range []crowd{
		{hosts: 16, size: 16 << 20, rate: 2.4e6, slow: 7, seed: 4},
	} {
		calm := c
		calm.slow = -1
		_, alone := calm.play(t)
		r, took := c.play(t)
		if len(r.Repairs) != 1 || r.Repairs[0].Host != fmt.Sprint("h", c.slow) {
			t.Errorf("%d hosts: %d repairs, want that h%d is moved and no other", c.hosts, len(r.Repairs), c.slow)
		}
		if took == 0 || took > alone*12/10 {
			t.Errorf("%d hosts: %v beside a slow one, %v without", c.hosts, took, alone)
		}
	}
}

// TestASlowHopMovesToTheTail has one of few receivers whose link is ten times slower,
// at each place of the chain where others wait for it: behind it they would take ten
// times as long.
func TestASlowHopMovesToTheTail(t *testing.T) {
	for slow := range 3 {
		c := crowd{hosts: 4, size: 16 << 20, rate: linkRate, slow: slow, seed: 5}
		r, took := c.play(t)
		if len(r.Repairs) == 0 || r.Repairs[0].Host != fmt.Sprint("h", slow) {
			t.Errorf("slow host %d: moved were %+v", slow, r.Repairs)
		}
		if ideal := time.Duration(float64(c.size) / c.rate * float64(time.Second)); took == 0 || took > 2*ideal {
			t.Errorf("slow host %d: the others had to wait %v, alone they take %v", slow, took, ideal)
		}
	}
}
