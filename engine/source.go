package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"

	"ore"
	"ore/chain"
	"ore/chain/conduct"
	"ore/node/agent"
)

// sourceName is what the host that a job comes from is called in a transfer.
const sourceName = "here"

// source is this host's part in transfers. It listens only once something is to
// be sent.
type source struct {
	config Config
	listen func() (net.Listener, error)

	mu    sync.Mutex // guards what follows
	peer  *chain.Peer
	grant chain.Grant
	port  uint16
	blobs map[ore.Digest]chain.Blob
}

func newSource(c Config) *source {
	everywhere := func() (net.Listener, error) { return net.Listen("tcp", ":0") }
	return &source{config: c, listen: everywhere, blobs: map[ore.Digest]chain.Blob{}}
}

// offer makes a blob of this host ready to be sent. seen is this host's address
// as the hosts see it.
func (s *source) offer(ctx context.Context, d ore.Digest, path string, seen netip.Addr) (chain.Blob, conduct.Host, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peer == nil {
		l, err := s.listen()
		if err != nil {
			return chain.Blob{}, conduct.Host{}, fmt.Errorf("send blobs: %w", err)
		}
		// The peer's life is the engine's, not that of the call that makes it.
		s.peer, err = chain.Start(context.WithoutCancel(ctx), chain.Config{Dir: s.config.Dir, Listener: l})
		if err != nil {
			return chain.Blob{}, conduct.Host{}, errors.Join(fmt.Errorf("send blobs: %w", err), l.Close())
		}
		s.grant = chain.NewGrant()
		s.grant.Conduct = true
		s.peer.Allow(s.grant)
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			s.port = a.AddrPort().Port()
		}
	}
	at := conduct.Host{
		Host: s.config.Rack.of(sourceName, agent.CardRate(seen)), Conduct: s.grant,
		Address: net.JoinHostPort(seen.String(), strconv.Itoa(int(s.port))),
	}
	if b, ok := s.blobs[d]; ok {
		return b, at, nil
	}
	b, err := agent.Cut(ctx, s.peer, d, path)
	if err != nil {
		return b, at, err
	}
	s.blobs[d] = b
	return b, at, nil
}

// list returns the digest of the list of a blob's chunks, as this host cut them;
// zero if it did not.
func (s *source) list(d ore.Digest) chain.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[d].List
}

// close ends what offer began.
func (s *source) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peer == nil {
		return nil
	}
	err := s.peer.Close()
	s.peer = nil
	if err != nil && !errors.Is(err, os.ErrClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("send blobs: %w", err)
	}
	return nil
}
