// Package control reads the syntax in which Debian writes about packages:
// paragraphs of fields (Debian Policy 5.1, deb822(5)), versions and their
// order (Policy 5.6.12), and relationships between packages (Policy 7.1).
//
// A paragraph looks like this, and an empty line ends it:
//
//	Package: hello
//	Version: 2.10-3
//	Depends: libc6 (>= 2.34), debconf | debconf-2.0
//	Description: example package
//	 Continued lines begin with a blank.
//
// The package works on text that is wholly in memory and hands out parts of
// it without copying, because an index of a suite has fifty megabytes and is
// read in one go. It knows nothing of files, archives or which packages exist.
package control

import (
	"fmt"
	"iter"
	"strings"
)

// Field is one field of a paragraph. The value of a field that goes over
// several lines holds the line feeds and the blanks that begin each line.
type Field struct {
	Name  string
	Value string
}

// Paragraph is the fields of one paragraph in their order.
type Paragraph []Field

// Get returns the value of the field called name, whose case does not matter
// (Policy 5.1), or "" when there is none.
func (p Paragraph) Get(name string) string {
	for _, f := range p {
		if len(f.Name) == len(name) && strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// Words returns the words of a value that stands for a list separated by
// blanks, such as Components.
func (p Paragraph) Words(name string) []string { return strings.Fields(p.Get(name)) }

// Lines returns the lines of the field called name with the blanks at both
// ends taken off; comment lines and an empty first line are left out, and a
// line that is a single dot means an empty line (Policy 5.6.13).
func (p Paragraph) Lines(name string) []string {
	var lines []string
	for i, l := range strings.Split(p.Get(name), "\n") {
		if strings.HasPrefix(l, "#") {
			continue
		}
		l = strings.TrimSpace(l)
		switch {
		case l == "" && i == 0:
			continue
		case l == ".":
			l = ""
		}
		lines = append(lines, l)
	}
	return lines
}

// SyntaxError says where a text is not made of paragraphs.
type SyntaxError struct {
	Line int // counted from 1
	Text string
}

// Error returns the line's number and what is wrong with it.
func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// Paragraphs yields the paragraphs of text one after the other. The slice is
// used again for the next paragraph, the strings in it are parts of text. After
// an error, which is a [*SyntaxError], nothing more is yielded.
func Paragraphs(text string) iter.Seq2[Paragraph, error] {
	return func(yield func(Paragraph, error) bool) {
		s := scanner{rest: text}
		for {
			p, err := s.next()
			if err != nil {
				yield(nil, err)
				return
			}
			if p == nil || !yield(p, nil) {
				return
			}
		}
	}
}

// Parse returns the first paragraph of text, nil if there is none.
func Parse(text string) (Paragraph, error) {
	for p, err := range Paragraphs(text) {
		return p, err
	}
	return nil, nil
}

// scanner walks over the lines of a text.
type scanner struct {
	rest string
	line int
	par  Paragraph
}

// next returns the next paragraph, or nil at the end of the text.
func (s *scanner) next() (Paragraph, error) {
	s.par = s.par[:0]
	for s.rest != "" {
		line, rest, _ := strings.Cut(s.rest, "\n")
		s.line++
		if isBlank(line) {
			s.rest = rest
			if len(s.par) > 0 {
				return s.par, nil
			}
			continue
		}
		if line[0] == '#' {
			s.rest = rest
			continue
		}
		if err := s.field(line); err != nil {
			return nil, err
		}
	}
	if len(s.par) > 0 {
		return s.par, nil
	}
	return nil, nil
}

// field takes the field that begins with line, and the lines that continue it,
// off the rest of the text.
func (s *scanner) field(line string) error {
	if line[0] == ' ' || line[0] == '\t' {
		return &SyntaxError{Line: s.line, Text: "a continued line without a field before it"}
	}
	colon := strings.IndexByte(line, ':')
	if colon <= 0 || strings.ContainsAny(line[:colon], " \t") {
		return &SyntaxError{Line: s.line, Text: fmt.Sprintf("%q is not a field (name, colon, value)", clip(line))}
	}
	end := len(line) + 1 // behind the line feed
	for end < len(s.rest) {
		c := s.rest[end]
		if c != ' ' && c != '\t' && c != '#' {
			break
		}
		n := strings.IndexByte(s.rest[end:], '\n')
		if n < 0 {
			n = len(s.rest) - end
		}
		if c != '#' && isBlank(s.rest[end:end+n]) {
			break
		}
		end += n + 1
		s.line++
	}
	end = min(end, len(s.rest))
	value := strings.TrimSpace(s.rest[colon+1 : end])
	s.par = append(s.par, Field{Name: line[:colon], Value: value})
	s.rest = s.rest[end:]
	return nil
}

// isBlank reports whether a line separates paragraphs. Parsers may take lines
// of blanks for empty ones (Policy 5.1), and all known ones do.
func isBlank(line string) bool {
	for i := range len(line) {
		if c := line[i]; c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// clipLength bounds how much of a bad line an error repeats.
const clipLength = 60

func clip(s string) string {
	if len(s) > clipLength {
		return s[:clipLength] + "..."
	}
	return s
}
