package chunk

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"ore"
)

// Kinds of hashed nodes, so that none can be taken for another.
const (
	leafNode  = 0
	innerNode = 1
	rootNode  = 2
)

// leaf is the hash of one chunk: its place is hashed with it.
func leaf(c Chunk) [sha256.Size]byte {
	b := []byte{leafNode}
	b = binary.BigEndian.AppendUint64(b, uint64(c.Offset))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Size))
	return sha256.Sum256(appendDigest(b, c.Digest))
}

func inner(left, right [sha256.Size]byte) [sha256.Size]byte {
	b := append([]byte{innerNode}, left[:]...)
	return sha256.Sum256(append(b, right[:]...))
}

// root binds the tree to the blob's name, size and number of chunks.
func (l List) root(tree [sha256.Size]byte, count int) ore.Digest {
	b := appendDigest([]byte{rootNode}, l.Blob)
	b = binary.BigEndian.AppendUint64(b, uint64(l.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(count))
	return ore.NewDigest(sha256.Sum256(append(b, tree[:]...)))
}

// Root returns the root of the list's Merkle tree.
func (l List) Root() ore.Digest {
	return l.root(l.tree(0, len(l.Chunks)), len(l.Chunks))
}

// tree hashes the chunks from i to before j.
func (l List) tree(i, j int) [sha256.Size]byte {
	switch j - i {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaf(l.Chunks[i])
	}
	k := i + half(j-i)
	return inner(l.tree(i, k), l.tree(k, j))
}

// half is the largest power of two that is less than n, as RFC 6962 cuts.
func half(n int) int {
	k := 1
	for 2*k < n {
		k *= 2
	}
	return k
}

// Proof shows that chunk number Index of Count is part of a blob.
type Proof struct {
	Blob         ore.Digest
	Size         int64
	Chunk        Chunk
	Index, Count int
	Path         [][]byte // hashes beside the way from the chunk to the root, lowest first
}

// ErrProof is returned for a proof or bytes that do not lead to the root.
var ErrProof = errors.New("not what the root stands for")

// Prove returns the proof of chunk number i.
func (l List) Prove(i int) Proof {
	p := Proof{Blob: l.Blob, Size: l.Size, Chunk: l.Chunks[i], Index: i, Count: len(l.Chunks)}
	for from, to := 0, len(l.Chunks); to-from > 1; {
		k := from + half(to-from)
		var beside [sha256.Size]byte
		if i < k {
			beside, to = l.tree(k, to), k
		} else {
			beside, from = l.tree(from, k), k
		}
		p.Path = append([][]byte{beside[:]}, p.Path...)
	}
	return p
}

// Verify checks that data is the chunk that p speaks of, in the blob with the
// given root.
func (p Proof) Verify(root ore.Digest, data []byte) error {
	if int64(len(data)) != p.Chunk.Size || ore.DigestOf(data) != p.Chunk.Digest {
		return fmt.Errorf("chunk %d: %w", p.Index, ErrProof)
	}
	if p.Count > MaxChunks || p.Index < 0 || p.Index >= p.Count {
		return fmt.Errorf("chunk %d of %d: %w", p.Index, p.Count, ErrProof)
	}
	tree, rest, err := p.climb(0, p.Count, p.Path)
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("chunk %d: %w", p.Index, ErrProof)
	}
	if (List{Blob: p.Blob, Size: p.Size}).root(tree, p.Count) != root {
		return fmt.Errorf("chunk %d: %w", p.Index, ErrProof)
	}
	return nil
}

// climb hashes its way up through the chunks from i to before j.
func (p Proof) climb(i, j int, path [][]byte) ([sha256.Size]byte, [][]byte, error) {
	if j-i == 1 {
		return leaf(p.Chunk), path, nil
	}
	k := i + half(j-i)
	from, to := i, k
	if p.Index >= k {
		from, to = k, j
	}
	below, path, err := p.climb(from, to, path)
	if err != nil || len(path) == 0 || len(path[0]) != sha256.Size {
		return below, path, ErrProof
	}
	beside := [sha256.Size]byte(path[0])
	if from == i {
		return inner(below, beside), path[1:], nil
	}
	return inner(beside, below), path[1:], nil
}
