// Package weigh says what the maintainer scripts of packages do when these come and
// go, as far as the plan asks: how many scripts run, and how many programs those
// call that run when a package is removed.
//
// Scripts are read where they are kept already, in packs and in .debs; nothing is
// fetched, and of what is not at hand nothing is known. A script is not run and not
// understood: its statements are counted that begin with the name of something other
// than what the shell does itself. Of scripts that debhelper has made, by which most
// packages are, that is the number of programs called, but for those in branches.
package weigh

import (
	"bytes"
	"context"
	"regexp"
	"strings"

	"ore"
	"ore/install/kept"
	"ore/install/pack"
	"ore/plan"
	"ore/squashfs"
)

// mostRead bounds how many packages are read for one plan. Each takes about a
// millisecond, and an image from which more have to go is hardly worth beginning
// with.
const mostRead = 300

// Source is where scripts are kept.
type Source struct {
	Builder string // the folder of who builds
	Options squashfs.Options
	AtHand  func([]ore.Package) map[ore.Digest]string // files of .debs; nil for none
}

// Extras weighs the packages that candidates have too much, but for those of which
// rates know what removing them took: that says more.
func (s Source) Extras(ctx context.Context, candidates []plan.Candidate, rates plan.Rates) (map[ore.Digest]plan.Weight, error) {
	packs, err := pack.Open(kept.Below(s.Builder).Packs, s.Options, nil)
	if err != nil {
		return nil, err
	}
	weights, asked := map[ore.Digest]plan.Weight{}, map[ore.Digest]bool{}
	for _, c := range candidates {
		for _, p := range c.Extra {
			_, known := rates.Names[plan.RemovalName(p.Name)]
			if known || asked[p.Digest] || len(asked) == mostRead {
				continue
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			asked[p.Digest] = true
			if control := s.control(ctx, packs, p); control != nil {
				weights[p.Digest] = Weigh(control)
			}
		}
	}
	return weights, nil
}

// control returns the files of a package's control member, nil if they are not here
// or cannot be read: who installs from them will complain, a plan need not.
func (s Source) control(ctx context.Context, packs *pack.Store, p ore.Package) map[string][]byte {
	if packs.Has(p.Digest) {
		if k, err := packs.Get(ctx, p.Digest, "", nil); err == nil {
			defer k.Close()
			return k.Control
		}
	}
	if s.AtHand == nil {
		return nil
	}
	deb, ok := s.AtHand([]ore.Package{p})[p.Digest]
	if !ok {
		return nil
	}
	control, err := packs.Head(deb)
	if err != nil {
		return nil
	}
	return control
}

// Weigh weighs a package by the files of its control member.
func Weigh(control map[string][]byte) plan.Weight {
	var w plan.Weight
	for _, name := range []string{"preinst", "postinst", "triggers"} {
		if len(control[name]) > 0 {
			w.Scripts++
		}
	}
	for _, name := range []string{"prerm", "postrm"} {
		w.Programs += programs(control[name])
	}
	return w
}

// own is what a shell does itself, or what only arranges what it does (Debian policy
// 10.4; POSIX.1-2017, "Shell Command Language").
var own = map[string]bool{
	"": true, "!": true, "{": true, "}": true, "[": true, ":": true, ".": true, "if": true, "then": true, "else": true, "elif": true, "fi": true,
	"case": true, "esac": true, "in": true, "for": true, "while": true, "until": true, "do": true, "done": true,
	"break": true, "cd": true, "command": true, "continue": true, "echo": true, "eval": true, "exit": true, "export": true,
	"false": true, "local": true, "printf": true, "read": true, "readonly": true, "return": true, "set": true, "shift": true,
	"test": true, "trap": true, "true": true, "type": true, "umask": true, "unset": true, "wait": true,
}

// leads are the words after which another statement begins in the same place.
var leads = map[string]bool{"if": true, "then": true, "else": true, "elif": true, "while": true, "until": true, "do": true, "!": true, "{": true}

var (
	separators = regexp.MustCompile("&&|[|]{1,2}|;|`|[$]?[(]|[)]")
	branch     = regexp.MustCompile(`^[(]?[][a-zA-Z0-9_.*?"' |-]*[)]`) // a pattern of case
	assignment = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*=`)
	name       = regexp.MustCompile(`^[a-zA-Z/][a-zA-Z0-9_./+-]*$`)
)

// programs counts the statements of a script that call a program.
func programs(script []byte) int {
	n := 0
	text := strings.ReplaceAll(string(bytes.ToValidUTF8(script, nil)), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = branch.ReplaceAllString(line, "")
		for _, statement := range separators.Split(line, -1) {
			if calls(strings.Fields(statement)) {
				n++
			}
		}
	}
	return n
}

// calls says whether a statement calls a program.
func calls(words []string) bool {
	for len(words) > 0 && (leads[words[0]] || assignment.MatchString(words[0])) {
		words = words[1:]
	}
	return len(words) > 0 && !own[words[0]] && name.MatchString(words[0])
}
