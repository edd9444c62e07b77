package vnet

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// resolveTimeout is how long all resolvers together may take; a guest's own
	// first try ends after 5 s (resolv.conf(5)).
	resolveTimeout = 9 * time.Second
	// resolverTimeout is how long one of them may take before the next is asked.
	resolverTimeout = 3 * time.Second
	// maxResolvers is how many of them the C library uses (MAXNS in resolv.h).
	maxResolvers = 3
	// maxAnswer is the largest DNS message.
	maxAnswer = 65535
	// resolvConf is where the host names its resolvers (resolv.conf(5)).
	resolvConf = "/etc/resolv.conf"
)

// upstream asks the resolvers of the host.
type upstream struct {
	fixed []netip.AddrPort // instead of those in file
	file  string
}

// resolvers returns whom to ask. The file is read each time: the host may move
// from one network to another, and reading it is cheap against asking.
func (u upstream) resolvers() ([]netip.AddrPort, error) {
	if len(u.fixed) > 0 {
		return u.fixed, nil
	}
	f, err := os.Open(u.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list := parseResolvers(f)
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: names no resolver", u.file)
	}
	return list, nil
}

// parseResolvers reads the nameserver lines of a resolv.conf(5).
func parseResolvers(r io.Reader) []netip.AddrPort {
	var list []netip.AddrPort
	for s := bufio.NewScanner(r); s.Scan() && len(list) < maxResolvers; {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, dnsPort))
		}
	}
	return list
}

// ask returns the first answer of a resolver to msg.
func (u upstream) ask(ctx context.Context, network string, msg []byte) ([]byte, error) {
	list, err := u.resolvers()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, r := range list {
		answer, err := askOne(ctx, network, r, msg)
		if err == nil {
			return answer, nil
		}
		errs = append(errs, fmt.Errorf("ask %v: %w", r, err))
	}
	return nil, errors.Join(errs...)
}

// askOne sends msg under an id of our own, from a port that the kernel chooses
// (RFC 5452), and returns the answer under the id that msg had.
func askOne(ctx context.Context, network string, resolver netip.AddrPort, msg []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, resolverTimeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, resolver.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) }) // wakes what waits
	defer stop()
	question := bytes.Clone(msg)
	if _, err := rand.Read(question[:2]); err != nil {
		return nil, err
	}
	answer, err := roundTrip(c, network, question)
	if err != nil {
		return nil, err
	}
	copy(answer[:2], msg[:2])
	return answer, nil
}

func roundTrip(c net.Conn, network string, question []byte) ([]byte, error) {
	if network == "tcp" {
		if err := writeMessage(c, question); err != nil {
			return nil, err
		}
		answer, err := readMessage(c, maxAnswer)
		if err == nil && !answers(answer, question) {
			err = errors.New("answer to another question")
		}
		return answer, err
	}
	if _, err := c.Write(question); err != nil {
		return nil, err
	}
	buf := make([]byte, maxAnswer)
	for {
		size, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if answers(buf[:size], question) {
			return bytes.Clone(buf[:size]), nil
		}
	}
}

// answers reports whether a message can be the answer to a question: same id,
// marked as an answer, and the same question in it, if it repeats any.
func answers(answer, question []byte) bool {
	if len(answer) < dnsHeader || !bytes.Equal(answer[:2], question[:2]) {
		return false
	}
	var pa, pq dnsmessage.Parser
	h, err := pa.Start(answer)
	if err != nil || !h.Response {
		return false
	}
	if _, err := pq.Start(question); err != nil {
		return false
	}
	if binary.BigEndian.Uint16(answer[4:]) == 0 {
		return h.RCode != dnsmessage.RCodeSuccess // an error may leave it out
	}
	a, err := pa.Question()
	if err != nil {
		return false
	}
	q, err := pq.Question()
	same := err == nil && a.Type == q.Type && a.Class == q.Class
	return same && strings.EqualFold(a.Name.String(), q.Name.String())
}
