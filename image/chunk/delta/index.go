package delta

import (
	"encoding/binary"
	"iter"
	"math/bits"
)

const (
	// seed is how many bytes are hashed.
	seed = 8
	// tries bounds how many places with one hash are looked at: zeros and other
	// runs have many, and the last ones are as good as any.
	tries = 24
	// dense is up to which length every place is in the index; beyond it every
	// fourth is, which still finds all matches of 11 bytes.
	dense = 16 << 20
)

// index finds the places of old that may begin as given bytes do.
type index struct {
	head  []int32 // by hash: the last place, plus 1
	prev  []int32 // by place/step: the place before with the same hash, plus 1
	shift int
	step  int
}

func newIndex(old []byte) index {
	x := index{step: 1}
	if len(old) > dense {
		x.step = 4
	}
	n := len(old) / x.step
	logSize := max(8, bits.Len(uint(n)))
	x.shift = 64 - logSize
	x.head = make([]int32, 1<<logSize)
	x.prev = make([]int32, n+1)
	for i := 0; i+seed <= len(old); i += x.step {
		h := x.hash(old[i:])
		x.prev[i/x.step] = x.head[h]
		x.head[h] = int32(i) + 1
	}
	return x
}

// hash is Fibonacci hashing (Knuth, TAOCP 3, 6.4) of the first 8 bytes.
func (x *index) hash(b []byte) uint64 {
	return binary.LittleEndian.Uint64(b) * 0x9E3779B97F4A7C15 >> x.shift
}

// places gives the places that may begin like b, which has at least seed bytes.
func (x *index) places(b []byte) iter.Seq[int] {
	return func(yield func(int) bool) {
		at := x.head[x.hash(b)]
		for range tries {
			if at == 0 || !yield(int(at)-1) {
				return
			}
			at = x.prev[(int(at)-1)/x.step]
		}
	}
}
