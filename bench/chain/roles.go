package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"ore/chain"
	"ore/chain/conduct"
	"ore/chain/shape"
)

// roles are what this program is at a host.
func roles() map[string]func(context.Context, []string) error {
	return map[string]func(context.Context, []string) error{"peer": bePeer, "conduct": beConductor, "http": serveHTTP, "get": getHTTP, "tracker": beTracker}
}

// hello is what a peer says when it is ready.
type hello struct {
	Address string
	Conduct chain.Grant
	Blob    chain.Blob
}

func (h hello) host(i int) conduct.Host {
	return conduct.Host{Host: shape.Host{Name: fmt.Sprint("h", i)}, Address: h.Address, Conduct: h.Conduct}
}

// plan is what the conductor is told: the first host is the source.
type plan struct {
	Blob  chain.Blob
	Hosts []conduct.Host
	Leave bool // the last receiver is not waited for
}

func h0(p plan) chain.Digest { return p.Blob.Digest }

// bePeer runs a peer in args[0] at args[1], that offers the file args[2] if it
// is not empty, until its input ends.
func bePeer(ctx context.Context, args []string) error {
	l, err := net.Listen("tcp", args[1])
	if err != nil {
		return err
	}
	p, err := chain.Start(ctx, chain.Config{Dir: args[0], Listener: l})
	if err != nil {
		return err
	}
	h := hello{Address: args[1], Conduct: chain.NewGrant()}
	h.Conduct.Conduct = true
	p.Allow(h.Conduct)
	if args[2] != "" {
		if h.Blob, err = offer(ctx, p, args[2]); err != nil {
			return errors.Join(err, p.Close())
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(h); err != nil {
		return errors.Join(err, p.Close())
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, p.Close())
}

func offer(ctx context.Context, p *chain.Peer, name string) (chain.Blob, error) {
	f, err := os.Open(name)
	if err != nil {
		return chain.Blob{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return chain.Blob{}, err
	}
	l, d, err := chain.Cut(ctx, f, st.Size())
	if err != nil {
		return chain.Blob{}, err
	}
	b := chain.NewBlob(d, l)
	return b, p.Add(b, l, name)
}

// beConductor sends as its input says and tells how long it took.
func beConductor(ctx context.Context, _ []string) error {
	var p plan
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begun, last, left := time.Now(), time.Duration(0), len(p.Hosts)-1
	if p.Leave {
		left--
	}
	t := conduct.Transfer{Blob: p.Blob, Source: p.Hosts[0], Receivers: p.Hosts[1:], Done: func(o conduct.Outcome) {
		if left--; left == 0 {
			last = time.Since(begun)
			if p.Leave {
				cancel()
			}
		}
	}}
	res, err := conduct.New(conduct.Config{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}).Send(ctx, t)
	if err != nil && !(p.Leave && errors.Is(err, context.Canceled) && last > 0) {
		return err
	}
	r := record{Seconds: last.Seconds(), Note: fmt.Sprintf("%s of %d", res.Kind, res.Stripes)}
	for _, f := range res.Repairs {
		r.Note += fmt.Sprintf("; %.2f s %s %s", f.After.Seconds(), f.Host, f.What)
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// serveHTTP serves the folder args[0] at args[1] until its input ends.
func serveHTTP(_ context.Context, args []string) error {
	return serveUntilEnd(args[1], http.FileServer(http.Dir(args[0])))
}

// serveUntilEnd serves until standard input ends.
func serveUntilEnd(at string, h http.Handler) error {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	s.Close()
	<-done
	return err
}

// getHTTP fetches args[0] into args[1].
func getHTTP(ctx context.Context, args []string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	f, err := os.Create(args[1])
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, res.Body); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
