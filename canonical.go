package ore

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"strconv"
)

// canonical hashes the JSON of an environment while it is written: what
// encoding/json makes of an Environment, byte for byte, without the text of some
// hundred packages ever being in memory, which took longer than all else that a
// question to a cache does. Fields stand in their order in the structure; where
// encoding/json would write null for a list that is nil, so does this.
type canonical struct {
	sum  hash.Hash
	text []byte
}

// canonicalChunk is how much is hashed at a time.
const canonicalChunk = 4096

// Key returns the environment's key: the SHA-256 of its canonical JSON, from
// which where packages were fetched (Path, Archive) is left out, since their
// digests say all.
func (e Environment) Key() Key {
	c := canonical{sum: sha256.New(), text: make([]byte, 0, 2*canonicalChunk)}
	c.raw(`{"Version":`).number(EnvironmentVersion)
	c.raw(`,"Base":{"Distribution":`).string(e.Base.Distribution).raw(`,"Suite":`).string(e.Base.Suite)
	c.raw(`},"Arch":`).string(e.Arch).raw(`,"Packages":`)
	list(&c, e.Packages, c.pkg)
	c.raw(`,"Manual":`).strings(e.Manual).raw(`,"Files":`)
	list(&c, e.Files, c.file)
	c.raw(`,"Steps":`)
	list(&c, e.Steps, c.step)
	c.raw(`,"Sources":`)
	list(&c, e.Sources, c.source)
	c.raw(`}`)
	c.sum.Write(c.text)
	var sum [sha256.Size]byte
	return Key(hex.EncodeToString(c.sum.Sum(sum[:0])))
}

func (c *canonical) pkg(p *Package) {
	c.raw(`{"Name":`).string(p.Name).raw(`,"Version":`).string(p.Version).raw(`,"Arch":`).string(p.Arch)
	c.raw(`,"Path":"","Archive":"","Size":`).number(p.Size)
	c.raw(`,"Digest":`).string(string(p.Digest)).raw(`,"Base":`).bool(p.Base).raw(`}`)
}

func (c *canonical) file(f *LockedFile) {
	c.raw(`{"Path":`).string(f.Path).raw(`,"Mode":`).number(int64(f.Mode)).raw(`,"Link":`).string(f.Link)
	c.raw(`,"Digest":`).string(string(f.Digest)).raw(`,"Size":`).number(f.Size).raw(`}`)
}

func (c *canonical) step(s *Step) {
	c.raw(`{"Name":`).string(s.Name).raw(`,"Needs":`).strings(s.Needs).raw(`,"Run":`).string(s.Run)
	c.raw(`,"Network":`).bool(s.Network).raw(`}`)
}

func (c *canonical) source(s *LockedSource) {
	c.raw(`{"URI":`).string(s.URI).raw(`,"Suite":`).string(s.Suite)
	c.raw(`,"Components":`).strings(s.Components).raw(`,"Key":`).string(string(s.Key)).raw(`}`)
}

// list writes a list by what writes one element.
func list[T any](c *canonical, all []T, one func(*T)) {
	if all == nil {
		c.raw(`null`)
		return
	}
	c.raw(`[`)
	for i := range all {
		if i > 0 {
			c.raw(`,`)
		}
		one(&all[i])
		if len(c.text) >= canonicalChunk {
			c.sum.Write(c.text)
			c.text = c.text[:0]
		}
	}
	c.raw(`]`)
}

func (c *canonical) strings(all []string) *canonical {
	list(c, all, func(s *string) { c.string(*s) })
	return c
}

func (c *canonical) raw(s string) *canonical {
	c.text = append(c.text, s...)
	return c
}

func (c *canonical) number(n int64) *canonical {
	c.text = strconv.AppendInt(c.text, n, 10)
	return c
}

func (c *canonical) bool(b bool) *canonical {
	c.text = strconv.AppendBool(c.text, b)
	return c
}

// string writes what stands for itself as it is, and has encoding/json escape
// the rest.
func (c *canonical) string(s string) *canonical {
	for i := range len(s) {
		if b := s[i]; b < ' ' || b > '~' || b == '"' || b == '\\' || b == '<' || b == '>' || b == '&' {
			text, err := json.Marshal(s)
			if err != nil {
				panic("ore: every string has a JSON: " + err.Error())
			}
			c.text = append(c.text, text...)
			return c
		}
	}
	c.text = append(append(append(c.text, '"'), s...), '"')
	return c
}
