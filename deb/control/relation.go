package control

import (
	"fmt"
	"strings"
)

// Relation is one package named in a relationship field (Policy 7.1), such as
// "libc6:any (>= 2.34)".
type Relation struct {
	Name    string
	Arch    string // the qualifier behind the colon, "" when there is none
	Op      Op     // Any when no version is given
	Version string
}

// Op says how a version must compare with the one given.
type Op string

// The operators of Policy 7.1. The forms < and >, long obsolete, mean <= and
// >= and are read as those.
const (
	Any       Op = ""
	Earlier   Op = "<<"
	AtMost    Op = "<="
	Exactly   Op = "="
	AtLeast   Op = ">="
	LaterThan Op = ">>"
)

// Alternatives is a group of which one member is enough: "a | b".
type Alternatives []Relation

// Allows reports whether version satisfies r, the name not being looked at.
func (r Relation) Allows(version string) bool {
	if r.Op == Any {
		return true
	}
	c := Compare(version, r.Version)
	switch r.Op {
	case Earlier:
		return c < 0
	case AtMost:
		return c <= 0
	case Exactly:
		return c == 0
	case AtLeast:
		return c >= 0
	}
	return c > 0
}

// String returns the relation as it is written in a field.
func (r Relation) String() string {
	s := r.Name
	if r.Arch != "" {
		s += ":" + r.Arch
	}
	if r.Op != Any {
		s += " (" + string(r.Op) + " " + r.Version + ")"
	}
	return s
}

// String returns the group as it is written in a field.
func (a Alternatives) String() string {
	parts := make([]string, len(a))
	for i, r := range a {
		parts[i] = r.String()
	}
	return strings.Join(parts, " | ")
}

// Relations reads the value of a relationship field: groups separated by
// commas, alternatives within a group by bars. Empty groups, which a trailing
// comma leaves, are passed over.
func Relations(value string) ([]Alternatives, error) {
	if value == "" {
		return nil, nil
	}
	groups := make([]Alternatives, 0, strings.Count(value, ",")+1)
	for group := range strings.SplitSeq(value, ",") {
		if strings.TrimSpace(group) == "" {
			continue
		}
		alternatives := make(Alternatives, 0, strings.Count(group, "|")+1)
		for text := range strings.SplitSeq(group, "|") {
			r, err := parseRelation(text)
			if err != nil {
				return nil, err
			}
			alternatives = append(alternatives, r)
		}
		groups = append(groups, alternatives)
	}
	return groups, nil
}

// parseRelation reads one relation: a name, perhaps an architecture's
// qualifier, perhaps a version in parentheses. What source packages add to it
// (architectures in brackets, build profiles) does not occur in binary ones.
func parseRelation(text string) (Relation, error) {
	s := strings.TrimSpace(text)
	name, rest, versioned := strings.Cut(s, "(")
	name, arch, qualified := strings.Cut(strings.TrimSpace(name), ":")
	r := Relation{Name: name, Arch: arch}
	if !isName(name) || qualified && !isName(arch) {
		return Relation{}, fmt.Errorf("relation %q: not a package name", clip(s))
	}
	if !versioned {
		return r, nil
	}
	inner, after, closed := strings.Cut(rest, ")")
	if !closed || strings.TrimSpace(after) != "" {
		return Relation{}, fmt.Errorf("relation %q: one version in parentheses is allowed", clip(s))
	}
	inner = strings.TrimSpace(inner)
	n := 0
	for n < len(inner) && strings.IndexByte("<>=", inner[n]) >= 0 {
		n++
	}
	op, err := parseOp(inner[:n])
	if err != nil {
		return Relation{}, fmt.Errorf("relation %q: %w", clip(s), err)
	}
	r.Op, r.Version = op, strings.TrimSpace(inner[n:])
	if r.Version == "" || strings.ContainsAny(r.Version, " \t\n(") {
		return Relation{}, fmt.Errorf("relation %q: not a version", clip(s))
	}
	return r, nil
}

func parseOp(s string) (Op, error) {
	switch s {
	case "<<", "<=", "=", ">=", ">>":
		return Op(s), nil
	case "<":
		return AtMost, nil
	case ">":
		return AtLeast, nil
	case "":
		return Exactly, nil // dpkg and apt read a bare version so
	}
	return "", fmt.Errorf("operator %q: not one of << <= = >= >>", s)
}

// isName reports whether s can name a package. Policy 5.6.1 asks for lower
// case and two characters at least, but fields of real archives are looser.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isDigit(c) && !isLetter(c) && (i == 0 || strings.IndexByte("+-._", c) < 0) {
			return false
		}
	}
	return s != ""
}
