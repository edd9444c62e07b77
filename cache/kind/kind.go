// Package kind says by hashes which environments may serve each other: those of
// one kind are compared by their packages, those of one wish answer the same
// request at different times.
package kind

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"

	"ore"
	"ore/cache/index"
)

// Short is a hash for columns that are only compared: 64 bits of SHA-256 over
// the JSON of v.
func Short(v any) int64 {
	sum := sha256.Sum256([]byte(text(v)))
	return int64(binary.LittleEndian.Uint64(sum[:]))
}

// Plain says whether env is packages alone.
func Plain(env ore.Environment) bool { return len(env.Files) == 0 && len(env.Steps) == 0 }

// Of says what must be equal for an image of env to be a candidate: for
// plain ones the base and the architecture. Files may lie over what packages
// bring, and steps have seen the packages that were there: on such an image
// only further steps can be built without another result than a clean build's,
// so that packages and files must be equal, too.
func Of(env ore.Environment) int64 {
	if Plain(env) {
		return PlainKind(env)
	}
	return MadeKind(env)
}

// PlainKind is Of for an environment of packages alone with env's base and
// architecture.
func PlainKind(env ore.Environment) int64 { return Short([]any{"plain", env.Base, env.Arch}) }

// MadeKind is Of for an environment with files or steps.
func MadeKind(env ore.Environment) int64 {
	packages := make([]uint64, len(env.Packages))
	for i, p := range env.Packages {
		packages[i] = index.Hash(p)
	}
	slices.Sort(packages)
	return Short([]any{"made", env.Base, env.Arch, packages, env.Files, env.Sources})
}

// Sources is a hash of env's apt sources.
func Sources(env ore.Environment) int64 { return Short(env.Sources) }

// Steps names each step by its content and that of all that it needs.
func Steps(steps []ore.Step) []string {
	hashes := map[string]string{}
	var all []string
	for _, s := range steps {
		var needs []string
		for _, n := range s.Needs {
			needs = append(needs, hashes[n])
		}
		slices.Sort(needs)
		sum := sha256.Sum256([]byte(text([]any{s.Name, needs, s.Run, s.Network})))
		hashes[s.Name] = hex.EncodeToString(sum[:8])
		all = append(all, hashes[s.Name])
	}
	return all
}

// Wish names what env was resolved from: all of it but the versions. Two
// environments with one wish serve the same request at different times.
func Wish(env ore.Environment) string {
	sum := sha256.Sum256([]byte(text([]any{env.Base, env.Arch, env.Manual, env.Files, Steps(env.Steps), env.Sources})))
	return hex.EncodeToString(sum[:16])
}

// text is the JSON of v, which holds only strings, numbers and lists.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("kind: only strings, numbers and lists are hashed: " + err.Error())
	}
	return string(b)
}
