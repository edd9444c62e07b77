package main

import (
	"errors"
	"io"
	"os"

	"golang.org/x/term"

	"ore"
	"ore/guest"
)

// stdinChoice is what --stdin says: nothing, yes or no.
type stdinChoice struct{ said, yes bool }

// stdinUse is whether a job reads ore's standard input.
type stdinUse int

const (
	noStdin         stdinUse = iota
	redirectedStdin          // if it is redirected
	anyStdin
)

// takesInput says what use the job j has for standard input. Unless told
// otherwise it gets what was redirected: a pipe, a file, a socket. A terminal
// stays the user's own, for Ctrl-C and the live view.
func takesInput(j ore.Job, c stdinChoice, use *stdinUse) error {
	one := j.Run.Mode == ore.First || j.Run.Mode == ore.Each && j.Machines.Count == 1
	switch {
	case c.said && c.yes && !one:
		return errors.New("--stdin: more than one machine or task would read it: use one machine, or --mode first")
	case c.said && c.yes:
		*use = anyStdin
	case !c.said && one:
		*use = redirectedStdin
	}
	return nil
}

// jobInput returns what a job reads as its standard input, nil for nothing, and
// what ends its use.
func (a *app) jobInput(use stdinUse) (io.Reader, func(), error) {
	f, ok := a.io.in.(*os.File)
	if use == noStdin || use == redirectedStdin && ok && !redirected(f) {
		return nil, func() {}, nil
	}
	return a.input()
}

// input returns the standard input as one that can be stopped, where it is a
// file, and what ends its use.
func (a *app) input() (io.Reader, func(), error) {
	none := func() {}
	f, ok := a.io.in.(*os.File)
	if !ok {
		return a.io.in, none, nil
	}
	in, err := guest.NewInput(f)
	if err != nil {
		return nil, none, err
	}
	return in, func() { in.Close() }, nil
}

// redirected says whether somebody connected f to something that has input.
func redirected(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || term.IsTerminal(int(f.Fd())) {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
