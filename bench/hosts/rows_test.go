package main

import (
	"math"
	"runtime"
	"testing"
)

// The time of an installation grows by the same with each host, so two numbers
// of hosts tell that of all.
func TestExtrapolation(t *testing.T) {
	l := &lab{settings: settings{hosts: 16, fewer: 4}}
	rows := &table{rows: map[string][]row{
		installOne: {{Seconds: 20}, {Seconds: 22}, {Seconds: 90}},
		installAll: {{Seconds: 52}},
		starUnpack: {{Seconds: 7}, {Seconds: 9}},
	}}
	if got, note := rows.atAll(l, installAll); got != 22+15*10 || note == "" {
		t.Errorf("22 s with 1 host and 52 s with 4 are said to be %v s with 16: %q", got, note)
	}
	if got, note := rows.atAll(l, starUnpack); got != 8 || note != "" {
		t.Errorf("what was measured with all hosts is %v: %q", got, note)
	}
	delete(rows.rows, installOne)
	if got, _ := rows.atAll(l, installAll); got != 0 {
		t.Errorf("one number of hosts tells %v s", got)
	}
}

// Of a time in which hosts queued up for cores, each has its part on cores of
// its own; the link's time stays; one host loses nothing.
func TestAlone(t *testing.T) {
	n := 100 * runtime.NumCPU()
	if got := (row{Hosts: n, Seconds: 10, Full: 5, Sent: 100}).alone(100, 0); math.Abs(got-5.05) > 1e-9 {
		t.Errorf("of 10 s with 5 s of queueing there remain %v", got)
	}
	if got := (row{Hosts: n, Seconds: 10, Full: 10, Sent: 800}).alone(100, 0); got < 8 {
		t.Errorf("what takes 8 s on the link would take %v", got)
	}
	if got := (row{Hosts: n, Seconds: 10, Full: 10, Sent: 800}).alone(100, 300); math.Abs(got-3.07) > 1e-9 {
		t.Errorf("of 10 s with 3 s of the link that are waited for there remain %v", got)
	}
	if got := (row{Hosts: 1, Seconds: 10, Full: 5}).alone(100, 0); got != 10 {
		t.Errorf("one host has cores of its own: %v", got)
	}
}

// What the other hosts compute is subtracted as cores do it, and of one host
// nothing.
func TestSubtracted(t *testing.T) {
	cores := float64(runtime.NumCPU())
	if got := (row{Seconds: 10, CPU: 2 + 7*cores}).subtracted(2); math.Abs(got-3) > 1e-9 {
		t.Errorf("of 10 s with 7 of others on all cores there remain %v", got)
	}
	if got := (row{Seconds: 10, CPU: 1.5}).subtracted(2); got != 10 {
		t.Errorf("one host's own time is %v", got)
	}
}

func TestTicks(t *testing.T) {
	if now := readTicks(); now.all <= 0 || now.busy <= 0 || now.busy > now.all {
		t.Errorf("the kernel says %+v", now)
	}
}
