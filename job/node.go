package job

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Error is one fault of a job file.
type Error struct {
	File         string
	Line, Column int
	What         string // what was wrong, and what is allowed
}

// Error returns file:line:column: what.
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.What)
}

// reader walks the nodes of one file and collects its faults.
type reader struct {
	file   string
	dir    string
	faults []*Error
	depth  int
}

func (r *reader) fault(n *yaml.Node, format string, args ...any) {
	r.faults = append(r.faults, &Error{File: r.file, Line: n.Line, Column: n.Column, What: fmt.Sprintf(format, args...)})
}

func (r *reader) err() error {
	slices.SortStableFunc(r.faults, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	errs := make([]error, len(r.faults))
	for i, f := range r.faults {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// field reads the value of one key.
type field func(key, value *yaml.Node)

// mapping reads a mapping whose keys are exactly those of fields.
func (r *reader) mapping(what string, n *yaml.Node, fields map[string]field) {
	r.pairs(what, n, func(k, v *yaml.Node) {
		f, ok := fields[k.Value]
		if !ok {
			r.fault(k, "unknown key %q in %s: allowed are %s", k.Value, what, keys(fields))
			return
		}
		f(k, v)
	})
}

// pairs reads a mapping with any keys, each at most once.
func (r *reader) pairs(what string, n *yaml.Node, each func(k, v *yaml.Node)) {
	if n = r.follow(n); n == nil {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fault(n, "%s is %s, not a mapping", what, kind(n))
		return
	}
	if r.depth++; r.depth > maxDepth {
		r.fault(n, "%s: nested deeper than %d", what, maxDepth)
		r.depth--
		return
	}
	defer func() { r.depth-- }()
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			r.fault(k, "a key of %s is %s, not a string", what, kind(k))
			continue
		}
		if line, twice := seen[k.Value]; twice {
			r.fault(k, "key %q of %s stands in line %d already", k.Value, what, line)
			continue
		}
		seen[k.Value] = k.Line
		each(k, v)
	}
}

// list reads a sequence.
func (r *reader) list(what string, n *yaml.Node, each func(v *yaml.Node)) {
	if n = r.follow(n); n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.fault(n, "%s is %s, not a list: write [a, b] or one '- a' a line", what, kind(n))
		return
	}
	for _, v := range n.Content {
		each(v)
	}
}

// str reads a scalar as a string: numbers and booleans are taken as written.
func (r *reader) str(what string, n *yaml.Node) (string, bool) {
	if n = r.follow(n); n == nil {
		return "", false
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		r.fault(n, "%s is %s, not a string", what, kind(n))
		return "", false
	}
	if strings.ContainsRune(n.Value, 0) {
		r.fault(n, "%s holds a NUL byte", what)
		return "", false
	}
	return n.Value, true
}

// word reads a string that has to be one of allowed.
func (r *reader) word(what string, n *yaml.Node, allowed ...string) (string, bool) {
	s, ok := r.str(what, n)
	if ok && !slices.Contains(allowed, s) {
		r.fault(n, "%s is %q: allowed are %s", what, s, strings.Join(allowed, ", "))
		return "", false
	}
	return s, ok
}

func (r *reader) strs(what string, n *yaml.Node) []string {
	var all []string
	r.list(what, n, func(v *yaml.Node) {
		if s, ok := r.str("an item of "+what, v); ok {
			all = append(all, s)
		}
	})
	return all
}

func (r *reader) integer(what string, n *yaml.Node, least, most int) (int, bool) {
	s, ok := r.str(what, n)
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(s)
	if err != nil || i < least || i > most {
		r.fault(n, "%s is %q: allowed is a whole number from %d to %d", what, s, least, most)
		return 0, false
	}
	return i, true
}

func (r *reader) boolean(what string, n *yaml.Node) bool {
	s, _ := r.word(what, n, "true", "false")
	return s == "true"
}

func (r *reader) size(what string, n *yaml.Node, least, most int64) (int64, bool) {
	s, ok := r.str(what, n)
	if !ok {
		return 0, false
	}
	b, err := ParseSize(s)
	if err != nil || b < least || b > most {
		r.fault(n, "%s is %q: allowed is a size from %s to %s", what, s, FormatSize(least), FormatSize(most))
		return 0, false
	}
	return b, true
}

func (r *reader) duration(what string, n *yaml.Node, most time.Duration) time.Duration {
	s, ok := r.str(what, n)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > most {
		r.fault(n, "%s is %q: allowed is a time such as 90s, 30m or 2h, at most %v", what, s, most)
		return 0
	}
	return d
}

// follow resolves an alias. The library has refused aliases that contain
// themselves; r.depth bounds the rest.
func (r *reader) follow(n *yaml.Node) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.AliasNode; i++ {
		if i > maxDepth {
			r.fault(n, "alias %q: too many levels", n.Value)
			return nil
		}
		n = n.Alias
	}
	return n
}

func kind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	default:
		return strconv.Quote(n.Value)
	}
}

func keys(fields map[string]field) string {
	all := make([]string, 0, len(fields))
	for k := range fields {
		all = append(all, k)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
