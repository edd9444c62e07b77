package slurm

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	// knockTime bounds how long who connects to a door may take to say who it is:
	// what a script prints in its first moment.
	knockTime = 10 * time.Second
	// maxKnocks bounds strangers at the door at one time.
	maxKnocks = 16
	// maxGreeting bounds a line of what the job says first: the names and addresses
	// of the most hosts that a job has.
	maxGreeting = 1 << 20
)

// door is where the script of a job on Slurm's hosts connects to this process: what
// the pipes to srun are where Slurm's commands run here. Whoever does not know the
// token is not let in.
type door struct {
	token    string
	listener net.Listener
	in       chan *visitor
}

// visitor is a job that has come: what follows its token comes from words.
type visitor struct {
	*net.TCPConn
	words *bufio.Reader
}

// Read implements io.Reader.
func (v *visitor) Read(b []byte) (int, error) { return v.words.Read(b) }

// line returns the next line.
func (v *visitor) line() (string, error) {
	var all []byte
	for {
		part, more, err := v.words.ReadLine()
		if err != nil {
			return "", err
		}
		if all = append(all, part...); len(all) > maxGreeting {
			return "", errors.New("a line of the job's script has no end")
		}
		if !more {
			return string(all), nil
		}
	}
}

// openDoor opens a door on all addresses of this host. It is closed by close.
func openDoor() (*door, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return nil, fmt.Errorf("listen for the job on Slurm's hosts: %w", err)
	}
	d := &door{token: rand.Text(), listener: l, in: make(chan *visitor, 1)}
	go d.serve() // until close
	return d, nil
}

// serve lets the first in who knows the token, until close.
func (d *door) serve() {
	knocking := make(chan struct{}, maxKnocks)
	for {
		c, err := d.listener.Accept()
		if err != nil {
			return // closed; a door that breaks otherwise is missed by who waits at it
		}
		knocking <- struct{}{}
		go func() {
			defer func() { <-knocking }()
			if v := d.answer(c); v == nil {
				c.Close()
			}
		}()
	}
}

// answer returns the visitor if it is the one that is waited for.
func (d *door) answer(c net.Conn) *visitor {
	t, ok := c.(*net.TCPConn)
	if !ok || c.SetDeadline(time.Now().Add(knockTime)) != nil {
		return nil
	}
	v := &visitor{TCPConn: t, words: bufio.NewReader(t)}
	said, err := v.words.ReadSlice('\n')
	if err != nil || subtle.ConstantTimeCompare(said, []byte(d.token+"\n")) != 1 || c.SetDeadline(time.Time{}) != nil {
		return nil
	}
	select {
	case d.in <- v:
		return v
	default:
		return nil // there was one already
	}
}

// await returns who has come.
func (d *door) await(ctx context.Context) (*visitor, error) {
	select {
	case v := <-d.in:
		return v, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// close closes the door. Who is in stays.
func (d *door) close() { d.listener.Close() }

// addresses are those by which this host may be reached, as words, and the port.
func (d *door) addresses() (words, port string, err error) {
	_, port, err = net.SplitHostPort(d.listener.Addr().String())
	if err != nil {
		return "", "", err
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return "", "", fmt.Errorf("addresses of this host: %w", err)
	}
	var all []string
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			all = append(all, p.Addr().String())
		}
	}
	if len(all) == 0 {
		return "", "", errors.New("this host has no address by which others could reach it")
	}
	return strings.Join(all, " "), port, nil
}

var _ io.Reader = (*visitor)(nil)
