package job

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// advice says, by words of the YAML library's message, what people mostly did
// and what is allowed instead. %d is the line where the broken value begins.
var advice = [...]struct{ words, text string }{
	{"cannot start any token", "a tab, or one of @ ` % at the beginning of a value: allowed are spaces for indentation, and such values in quotes"},
	{"mapping values are not allowed", "a key within a value: allowed is one 'key: value' a line, and a value with ': ' in quotes"},
	{"expected ',' or ']'", "a list that begins in line %d has no end: allowed is [a, b]"},
	{"expected ',' or '}'", "a mapping that begins in line %d has no end: allowed is {a: b, c: d}"},
	{"unexpected end of stream", "a quoted value that begins in line %d has no end: allowed is '...' or \"...\""},
	{"expected '-' indicator", "no item of the list that begins in line %d: allowed is '- item' at the same indentation"},
	{"did not find expected key", "no key of the mapping that begins in line %d: allowed is 'key: value' at the same indentation"},
	{"unknown anchor", "an alias (*name) of nothing: allowed are names that an anchor (&name) gave before; a value with * in front needs quotes"},
	{"expected single document", "more than one document: allowed is one job a file"},
	{"no documents", "an empty file: allowed are the keys environment, machines, name, network, run"},
	{"UTF-8", "no text: allowed is UTF-8"},
	{"control characters", "a control character: allowed is text"},
}

// syntaxError puts what the YAML library says into the form of all other faults.
func syntaxError(name string, err error) error {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		return fmt.Errorf("%s: %w", name, err)
	}
	at, what := le.Mark, "no YAML: "+le.Message
	if at.Line == 0 {
		at = le.ContextMark
	}
	for _, a := range advice {
		if !strings.Contains(le.Message, a.words) {
			continue
		}
		what = a.text
		if strings.Contains(what, "%d") {
			what = fmt.Sprintf(what, max(le.ContextMark.Line, 1))
		}
		break
	}
	return &Error{File: name, Line: max(at.Line, 1), Column: max(at.Column, 1), What: what}
}
