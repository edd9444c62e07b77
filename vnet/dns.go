package vnet

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"ore"
)

const (
	dnsPort = 53
	// dnsHeader is the fixed part of a message (RFC 1035, 4.1.1).
	dnsHeader = 12
	// maxQuestion is the largest question looked at: a name of 255 bytes, an
	// EDNS record and its options fit several times.
	maxQuestion = 4096
	// nameTTL is how long a guest may remember a machine's address, in seconds:
	// a name can pass to another machine only after a detach.
	nameTTL = 5
	// ednsSize is the size of UDP answers that we take (RFC 6891; the DNS flag
	// day of 2020 settled on it).
	ednsSize = 1232
	// dnsIdle is how long a TCP connection may stay without a question
	// (RFC 7766, 6.2.3: a few seconds).
	dnsIdle = 10 * time.Second
	// maxDNSConns is how many TCP connections are served at once.
	maxDNSConns = 64
)

// serveDNS starts the DNS server at the gateway.
func (n *Network) serveDNS() error {
	at := tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(n.subnet.gateway().As4()), Port: dnsPort}
	u, err := gonet.DialUDP(n.stack, &at, nil, ipv4.ProtocolNumber)
	if err != nil {
		return err
	}
	if _, ok := n.hold(u); !ok {
		return ErrClosed
	}
	l, err := n.Listen(dnsPort)
	if err != nil {
		return err
	}
	n.launch(func() { n.serveDNSPackets(u) })
	n.launch(func() { n.serveDNSStreams(l) })
	return nil
}

func (n *Network) serveDNSPackets(u *gonet.UDPConn) {
	buf := make([]byte, maxQuestion)
	for {
		size, from, err := u.ReadFrom(buf)
		if err != nil {
			return
		}
		machine := from.(*net.UDPAddr).AddrPort().Addr().Unmap()
		msg := append([]byte(nil), buf[:size]...)
		answer, ask := n.answer(msg)
		if !ask {
			if answer != nil {
				_, _ = u.WriteTo(answer, from) // lost, as datagrams may be
			}
			continue
		}
		started := n.flows.begin(machine, queryFlow)
		if started && !n.launch(func() {
			defer n.flows.end(machine, queryFlow)
			_, _ = u.WriteTo(n.forward(msg, "udp"), from)
		}) {
			return
		}
		if !started {
			_, _ = u.WriteTo(refusal(msg, dnsmessage.RCodeServerFailure), from)
		}
	}
}

func (n *Network) serveDNSStreams(l net.Listener) {
	slots := make(chan struct{}, maxDNSConns)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		if !n.launch(func() { defer func() { <-slots }(); n.serveDNSStream(c) }) {
			c.Close()
			return
		}
	}
}

// serveDNSStream answers the questions of one TCP connection in turn.
func (n *Network) serveDNSStream(c net.Conn) {
	defer c.Close()
	drop, ok := n.hold(c)
	if !ok {
		return
	}
	defer drop()
	for {
		if err := c.SetDeadline(time.Now().Add(dnsIdle)); err != nil {
			return
		}
		msg, err := readMessage(c, maxQuestion)
		if err != nil {
			return
		}
		answer, ask := n.answer(msg)
		if ask {
			answer = n.forward(msg, "tcp")
		}
		if answer == nil || writeMessage(c, answer) != nil {
			return
		}
	}
}

// readMessage reads one message with its length (RFC 1035, 4.2.2).
func readMessage(r io.Reader, max int) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > max {
		return nil, io.ErrShortBuffer
	}
	msg := make([]byte, n)
	_, err := io.ReadFull(r, msg)
	return msg, err
}

func writeMessage(w io.Writer, msg []byte) error {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg)))
	_, err := w.Write(append(b, msg...))
	return err
}

// answer returns the answer to a question, nil where there is to be none, or
// says that the host's resolvers are to be asked.
func (n *Network) answer(msg []byte) (answer []byte, ask bool) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.Response {
		return nil, false // answering an answer could go on for ever
	}
	if h.OpCode != 0 {
		return refusal(msg, dnsmessage.RCodeNotImplemented), false
	}
	q, err := p.Question()
	if err != nil {
		return refusal(msg, dnsmessage.RCodeFormatError), false
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone {
		return refusal(msg, dnsmessage.RCodeFormatError), false
	}
	r := reply{header: h, question: q, edns: hasEDNS(&p)}
	if n.lookUp(&r) {
		return r.pack(), false
	}
	if n.policy.network != ore.NAT {
		return refusal(msg, dnsmessage.RCodeRefused), false
	}
	return nil, true
}

// lookUp fills in the answer if the name is ours to know.
func (n *Network) lookUp(r *reply) bool {
	name := r.question.Name.String()
	if a, ok := n.names.reverse(name); ok {
		host, known := n.names.byAddress(a)
		if !known {
			r.code = dnsmessage.RCodeNameError
		} else if r.wants(dnsmessage.TypePTR) {
			r.pointer = host + "." + n.names.domain + "."
		}
		return true
	}
	label, ours := n.names.local(name)
	if !ours {
		return false
	}
	a, known := n.names.address(label)
	switch {
	case known && r.wants(dnsmessage.TypeA):
		r.address = a
	case !known && label != n.names.domain:
		r.code = dnsmessage.RCodeNameError
	}
	return true
}

// reply is an answer in the making.
type reply struct {
	header   dnsmessage.Header
	question dnsmessage.Question
	edns     bool
	code     dnsmessage.RCode
	address  netip.Addr // an A record, if valid
	pointer  string     // a PTR record, if not empty
}

func (r *reply) wants(t dnsmessage.Type) bool {
	in := r.question.Class == dnsmessage.ClassINET || r.question.Class == dnsmessage.ClassANY
	return in && (r.question.Type == t || r.question.Type == dnsmessage.TypeALL)
}

// pack returns the message, nil if it cannot be written.
func (r *reply) pack() []byte {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: r.header.ID, Response: true, Authoritative: true, RCode: r.code,
			RecursionDesired: r.header.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{r.question},
	}
	h := dnsmessage.ResourceHeader{Name: r.question.Name, Class: dnsmessage.ClassINET, TTL: nameTTL}
	if r.address.IsValid() {
		h.Type = dnsmessage.TypeA
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: r.address.As4()}})
	}
	if r.pointer != "" {
		name, err := dnsmessage.NewName(r.pointer)
		if err != nil {
			return nil
		}
		h.Type = dnsmessage.TypePTR
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.PTRResource{PTR: name}})
	}
	if r.edns {
		var o dnsmessage.ResourceHeader
		if err := o.SetEDNS0(ednsSize, dnsmessage.RCodeSuccess, false); err != nil {
			return nil
		}
		m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: o, Body: &dnsmessage.OPTResource{}})
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// hasEDNS reports whether the rest of a question holds an OPT record: its
// answer must then hold one too (RFC 6891, 6.1.1).
func hasEDNS(p *dnsmessage.Parser) bool {
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return false
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return false
		}
		if h.Type == dnsmessage.TypeOPT {
			return true
		}
		if p.SkipAdditional() != nil {
			return false
		}
	}
}

// refusal returns msg's header as an answer with nothing but a code.
func refusal(msg []byte, code dnsmessage.RCode) []byte {
	if len(msg) < dnsHeader {
		return nil
	}
	b := make([]byte, dnsHeader)
	copy(b, msg[:4])
	const response, recursionAvailable = 0x80, 0x80
	b[2] |= response
	b[3] = recursionAvailable | byte(code)
	return b
}

// forward asks the host's resolvers and returns what they say.
func (n *Network) forward(msg []byte, network string) []byte {
	ctx, cancel := context.WithTimeout(n.ctx, resolveTimeout)
	defer cancel()
	answer, err := n.upstream.ask(ctx, network, msg)
	if err != nil {
		n.log.Debug("name not resolved", "cause", err)
		return refusal(msg, dnsmessage.RCodeServerFailure)
	}
	return answer
}
