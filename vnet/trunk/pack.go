package trunk

import (
	"ore/vnet/ethernet"
	"ore/vnet/trunk/datagram"
	"ore/vnet/trunk/seal"
)

// leastPiece is the least room at the end of a datagram for which a frame is cut
// rather than the room filled up.
const leastPiece = 64

// packer makes frames into datagrams of one size, sealed one after the other, so
// that the kernel can take them at once. It is used by one goroutine.
type packer struct {
	buf     []byte // of MostSize
	id      uint16 // of the next frame that is cut
	session *session
	path    *datagram.Path
	size    int // of a sealed datagram
	start   int // of the datagram that is being filled
	at      int // where its next record comes
	count   int // datagrams that are sealed and not sent
	sent    sentCounts
}

// sentCounts is what became of frames.
type sentCounts struct{ datagrams, bytes, failed uint64 }

// begin starts a batch.
func (p *packer) begin(s *session, w *datagram.Path) {
	if p.buf == nil {
		p.buf = make([]byte, datagram.MostSize)
	}
	p.session, p.path, p.size = s, w, w.Size()
	p.start, p.at, p.count = 0, seal.HeadSize, 0
}

// room is how many bytes fit into the datagram that is being filled.
func (p *packer) room() int { return p.start + p.size - seal.TagSize - p.at }

// add packs a frame.
func (p *packer) add(f *ethernet.Frame) {
	b := f.Bytes()
	if frameHead+len(b) <= p.room() {
		putFrame(p.buf[p.at:], len(b))
		p.at += frameHead + copy(p.buf[p.at+frameHead:], b)
		return
	}
	r := record{id: p.id, total: len(b)}
	p.id++
	for r.offset < len(b) {
		if p.room() < pieceHead+min(leastPiece, len(b)-r.offset) {
			p.next()
		}
		n := min(len(b)-r.offset, p.room()-pieceHead)
		putPiece(p.buf[p.at:], r, n)
		copy(p.buf[p.at+pieceHead:], b[r.offset:r.offset+n])
		p.at += pieceHead + n
		r.offset += n
	}
}

// next fills the datagram up, seals it and begins another.
func (p *packer) next() {
	end := p.start + p.size - seal.TagSize
	clear(p.buf[p.at:end])
	p.at = end
	p.close()
	if p.count == datagram.Segments || p.start+p.size > datagram.MostSize {
		p.flush()
	}
}

// close seals the datagram that is being filled.
func (p *packer) close() {
	n := p.session.Seal(p.buf[p.start:], p.at-p.start-seal.HeadSize)
	if n == 0 {
		p.sent.failed++ // the keys are used up, and new ones are on the way
		p.at = p.start + seal.HeadSize
		return
	}
	p.start += n
	p.at = p.start + seal.HeadSize
	p.count++
}

// end sends what is left of the batch.
func (p *packer) end() {
	if p.at > p.start+seal.HeadSize {
		p.close()
	}
	p.flush()
}

// flush sends what is sealed.
func (p *packer) flush() {
	if p.count > 0 {
		if err := p.path.Send(p.buf[:p.start], p.size); err != nil {
			p.sent.failed += uint64(p.count)
		} else {
			p.sent.datagrams += uint64(p.count)
			p.sent.bytes += uint64(p.start)
		}
	}
	p.start, p.at, p.count = 0, seal.HeadSize, 0
}
