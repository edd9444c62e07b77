package delta

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// version is the first byte of a patch.
const version = 1

// maxWindow bounds what a reader must remember of a stream.
const maxWindow = 8 << 20

// Encode returns what Decode needs to make next from old. An old of no bytes
// makes it a plain compression.
func Encode(old, next []byte) ([]byte, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("encode delta: %w", err)
	}
	defer z.Close()
	e := encoder{old: old, next: next, index: newIndex(old)}
	e.run()
	out := binary.AppendUvarint([]byte{version}, uint64(len(next)))
	for _, s := range [][]byte{e.control, e.difference, e.extra} {
		packed := z.EncodeAll(s, nil)
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = binary.AppendUvarint(out, uint64(len(packed)))
		out = append(out, packed...)
	}
	return out, nil
}

// encoder collects the three streams.
type encoder struct {
	old, next []byte
	index     index

	control, difference, extra []byte

	done   int // bytes of next that are told
	from   int // where in old the last command ended
	offset int // the last command's alignment: position in old minus that in next
}

// Scores of an extended match. An alignment is kept as long as two of three
// bytes agree, and given up when it has been wrong for so long that it lies
// drop below its best (X-drop, as in BLAST: Altschul et al., 1997).
const (
	agree    = 1
	disagree = -2
	drop     = 64
)

// shortest is the least match that is worth a command.
const shortest = 12

func (e *encoder) run() {
	for i := 0; i < len(e.next); {
		pos, n := e.longest(i)
		if n < shortest {
			i++
			continue
		}
		back := e.reach(i, pos, min(i-e.done, pos), -1)
		ahead := n + e.reach(i+n, pos+n, min(len(e.next)-i-n, len(e.old)-pos-n), 1)
		e.command(i-back, pos-back, back+ahead)
		i += ahead
	}
	if e.done < len(e.next) {
		e.command(len(e.next), e.from, 0)
	}
}

// longest returns the longest known match of next at i. The alignment of the
// last command is preferred: going on with it costs nothing.
func (e *encoder) longest(i int) (pos, n int) {
	if j := i + e.offset; j >= 0 && j < len(e.old) {
		if n = e.same(i, j); n >= shortest {
			return j, n
		}
	}
	if i+seed > len(e.next) {
		return 0, 0
	}
	n = 0
	for j := range e.index.places(e.next[i:]) {
		if m := e.same(i, j); m > n {
			pos, n = j, m
		}
	}
	return pos, n
}

// same returns how many bytes from the two places on are equal.
func (e *encoder) same(i, j int) int {
	a, b := e.next[i:], e.old[j:]
	b = b[:min(len(a), len(b))]
	n := 0
	for n+8 <= len(b) && binary.LittleEndian.Uint64(a[n:]) == binary.LittleEndian.Uint64(b[n:]) {
		n += 8
	}
	for n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// reach returns how far from the two places, at most limit, the alignment is
// worth keeping in the direction of step.
func (e *encoder) reach(i, j, limit, step int) int {
	if step < 0 {
		i, j = i-1, j-1
	}
	best, score, top := 0, 0, 0
	for k := range limit {
		if e.next[i+k*step] == e.old[j+k*step] {
			score += agree
		} else {
			score += disagree
		}
		if score > top {
			top, best = score, k+1
		}
		if score < top-drop {
			break
		}
	}
	return best
}

// command tells next up to at as extra bytes, and n more as their difference
// from old at pos.
func (e *encoder) command(at, pos, n int) {
	e.control = binary.AppendUvarint(e.control, uint64(at-e.done))
	e.control = binary.AppendUvarint(e.control, uint64(n))
	e.control = binary.AppendVarint(e.control, int64(pos-e.from))
	e.extra = append(e.extra, e.next[e.done:at]...)
	for k := range n {
		e.difference = append(e.difference, e.next[at+k]-e.old[pos+k])
	}
	e.done, e.from, e.offset = at+n, pos+n, pos-at
}
