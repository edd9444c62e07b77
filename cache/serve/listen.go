package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"golang.org/x/net/netutil"
)

// Serve answers on l until ctx ends, then lets requests that go on end for a
// short while. authorities is the PEM of those whose client certificates count;
// nil means the folder's own.
func (s *Server) Serve(ctx context.Context, l net.Listener, certificate tls.Certificate, authorities []byte) error {
	pool, err := clientAuthorities(s.Dir, authorities)
	if err != nil {
		return errors.Join(fmt.Errorf("serve cache: %w", err), l.Close())
	}
	h := &http.Server{
		Handler: s.Handler(),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate},
			ClientCAs: pool,
		},
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingTime, PingTimeout: pingTime, WriteByteTimeout: stall},
		// What net/http tells there are clients' mistakes and scans of ports.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	if pool != nil {
		h.TLSConfig.ClientAuth = tls.VerifyClientCertIfGiven
	}
	ended := make(chan error, 1)
	go func() { ended <- h.ServeTLS(netutil.LimitListener(l, maxConnections), "", "") }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve cache: %w", err)
	case <-ctx.Done():
	}
	s.end() // those who wait for something are told at once
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	err = h.Shutdown(soon)
	if errors.Is(err, context.DeadlineExceeded) {
		err = h.Close()
	}
	if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}
