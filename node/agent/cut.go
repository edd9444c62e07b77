package agent

import (
	"context"
	"fmt"
	"os"

	"ore"
	"ore/chain"
	"ore/image"
)

// Cut has a peer offer the file at path, whose bytes must be those of blob d,
// and returns what is said of it to those who are to get it.
func Cut(ctx context.Context, p *chain.Peer, d ore.Digest, path string) (chain.Blob, error) {
	f, err := os.Open(path)
	if err != nil {
		return chain.Blob{}, fmt.Errorf("offer blob %s: %w", d.Short(), err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return chain.Blob{}, fmt.Errorf("offer blob %s: %w", d.Short(), err)
	}
	l, sum, err := chain.Cut(ctx, f, info.Size())
	if err != nil {
		return chain.Blob{}, fmt.Errorf("offer blob %s: %w", d.Short(), err)
	}
	if got := ore.NewDigest(sum); got != d {
		return chain.Blob{}, fmt.Errorf("offer blob %s: it has %s: %w", d.Short(), got.Short(), image.ErrRotten)
	}
	b := chain.NewBlob(sum, l)
	return b, p.Add(b, l, path)
}
