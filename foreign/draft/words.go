package draft

import "strings"

// Words splits a line as a shell does: at blanks, with quotes and backslashes,
// up to a comment. Quotes that do not end end with the line.
func Words(line string) []string {
	var words []string
	var w strings.Builder
	open, quote := false, rune(0)
	rs := []rune(line)
	for i := 0; i < len(rs); i++ {
		switch r := rs[i]; {
		case quote == '\'' && r != '\'', quote == '"' && r != '"' && r != '\\':
			w.WriteRune(r)
		case quote != 0 && r == quote:
			quote = 0
		case r == '\\' && i+1 < len(rs):
			i++
			w.WriteRune(rs[i])
			open = true
		case quote == 0 && (r == '"' || r == '\''):
			quote, open = r, true
		case r == ' ' || r == '\t' || r == '\r':
			if open {
				words, open = append(words, w.String()), false
				w.Reset()
			}
		case r == '#' && !open:
			return words
		default:
			w.WriteRune(r)
			open = true
		}
	}
	if open {
		words = append(words, w.String())
	}
	return words
}

// Options are a command's words after its name: --name, --name=value, --name
// value, and the rest.
type Options struct {
	values map[string]string
	order  []string
	Rest   []string
}

// Option parses words; flags are the names that take no value.
func Option(words []string, flags ...string) Options {
	o := Options{values: map[string]string{}}
	for i := 0; i < len(words); i++ {
		name, value, ok := strings.Cut(strings.TrimPrefix(words[i], "--"), "=")
		if !strings.HasPrefix(words[i], "--") || name == "" {
			o.Rest = append(o.Rest, words[i])
			continue
		}
		if !ok && !contains(flags, name) && i+1 < len(words) && !strings.HasPrefix(words[i+1], "--") {
			i++
			value = words[i]
		}
		if _, twice := o.values[name]; !twice {
			o.order = append(o.order, name)
		}
		o.values[name] = value
	}
	return o
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

// Has says whether an option was given, and marks it as understood.
func (o *Options) Has(name string) bool {
	_, ok := o.values[name]
	o.known(name)
	return ok
}

// Get returns an option's value, and marks it as understood.
func (o *Options) Get(name string) string {
	o.known(name)
	return o.values[name]
}

// Skip marks options as understood that ask for nothing that is not so anyway.
func (o *Options) Skip(names ...string) {
	for _, n := range names {
		o.known(n)
	}
}

// Spare is Skip for an option that asks for nothing with one of these values alone.
func (o *Options) Spare(name string, values ...string) {
	if v, ok := o.values[name]; ok && contains(values, v) {
		o.known(name)
	}
}

func (o *Options) known(name string) {
	for i, n := range o.order {
		if n == name {
			o.order = append(o.order[:i:i], o.order[i+1:]...)
			return
		}
	}
}

// Left returns the options that nobody asked for, in their order, and the words
// after the first so many of those that belong to none.
func (o *Options) Left(words int) []string {
	var left []string
	for _, n := range o.order {
		left = append(left, "--"+n)
	}
	return append(left, o.Rest[min(words, len(o.Rest)):]...)
}
