package quick

import "math/bits"

// Modes of a table (RFC 8878, 3.1.1.3.2.1).
const (
	modeUsual = 0 // the usual distribution
	modeOne   = 1 // one code only
	modeTold  = 2 // the distribution follows
)

// fewCodes is up to how many sequences telling the distribution is not worth its bytes.
const fewCodes = 48

// begin makes the table for n codes, which have been counted, and appends what the
// reader has to know of it.
func (c *coder) begin(dst []byte, n int) ([]byte, byte) {
	greatest, kinds, one := 0, 0, 0
	for code, count := range c.counts[:len(c.extra)] {
		if count > 0 {
			greatest, kinds, one = code, kinds+1, code
		}
	}
	if kinds == 1 {
		c.accuracy = 0
		c.steps[one], c.states[0] = step{}, 0
		return append(dst, byte(one)), modeOne
	}
	if n <= fewCodes && greatest < len(c.usual) {
		c.accuracy = c.usualOf
		clear(c.share[:])
		copy(c.share[:], c.usual)
		c.fill(len(c.usual))
		return dst, modeUsual
	}
	c.divide(n, greatest)
	c.fill(greatest + 1)
	return c.tell(dst, greatest+1), modeTold
}

// leastAccuracy is the least that can be told (4.1.1).
const leastAccuracy = 5

// divide gives each code its share of the states: what it has of n, but at least one.
func (c *coder) divide(n, greatest int) {
	// More states than a quarter of the codes are not worth telling.
	want := max(bits.Len(uint(n-1))-3, bits.Len(uint(greatest))+1, leastAccuracy)
	c.accuracy = uint8(min(want, int(c.most)))
	size := 1 << c.accuracy
	left, largest := size, 0
	for code := range greatest + 1 {
		count := int(c.counts[code])
		share := (count*size + n/2) / n
		if count > 0 {
			share = max(share, 1)
		}
		c.share[code] = int16(share)
		left -= share
		if share > int(c.share[largest]) {
			largest = code
		}
	}
	if left >= 0 || int(c.share[largest]) > -2*left {
		c.share[largest] += int16(left)
		return
	}
	for ; left < 0; left++ { // many rare codes: each of the frequent ones gives
		largest = 0
		for code := range greatest + 1 {
			if c.share[code] > c.share[largest] {
				largest = code
			}
		}
		c.share[largest]--
	}
}

// fill makes the table of the first n codes' shares (4.1.1).
func (c *coder) fill(n int) {
	size := 1 << c.accuracy
	high := size - 1
	var begins [65]int32
	for code, share := range c.share[:n] {
		if share < 0 {
			c.spread[high] = uint8(code)
			high--
			share = 1
		}
		begins[code+1] = begins[code] + int32(share)
	}
	pos, jump := 0, size>>1+size>>3+3
	for code, share := range c.share[:n] {
		for range max(share, 0) {
			c.spread[pos] = uint8(code)
			pos = (pos + jump) & (size - 1)
			for pos > high {
				pos = (pos + jump) & (size - 1)
			}
		}
	}
	for code, share := range c.share[:n] {
		share, find := int32(share), begins[code]
		if share == 0 {
			continue
		}
		if share < 2 {
			c.steps[code] = step{bits: int32(c.accuracy)<<16 - int32(size), find: find - 1}
			continue
		}
		most := int32(c.accuracy) - int32(bits.Len32(uint32(share-1))-1)
		c.steps[code] = step{bits: most<<16 - share<<most, find: find - share}
	}
	for state, code := range c.spread[:size] {
		c.states[begins[code]] = uint16(size + state)
		begins[code]++
	}
}

// tell appends the shares of the first n codes, of which the last has one (4.1.1).
func (c *coder) tell(dst []byte, n int) []byte {
	acc, have := uint32(c.accuracy-leastAccuracy), 4
	left, threshold, width := 1<<c.accuracy+1, 1<<c.accuracy, int(c.accuracy)+1
	flush := func() {
		for ; have >= 8; have -= 8 {
			dst = append(dst, byte(acc))
			acc >>= 8
		}
	}
	for code := 0; code < n && left > 1; {
		share := int(c.share[code])
		code++
		most := 2*threshold - 1 - left
		left -= share
		v := share + 1
		if v >= threshold {
			v += most
		}
		acc |= uint32(v) << have
		have += width
		if v < most {
			have--
		}
		flush()
		for ; left < threshold; threshold >>= 1 {
			width--
		}
		if share > 0 {
			continue
		}
		run := 0
		for code < n && c.share[code] == 0 {
			run, code = run+1, code+1
		}
		for ; run >= 3; run -= 3 {
			acc |= 3 << have
			have += 2
			flush()
		}
		acc |= uint32(run) << have
		have += 2
		flush()
	}
	if have > 0 {
		dst = append(dst, byte(acc))
	}
	return dst
}
