// Package foreign reads the descriptions of other installers and makes job files
// of them: what they say about packages, disks, users, scripts and the network.
// They are read, not imitated: what has no place in a job file is listed, line by
// line, with the reason.
//
// Each kind is a package of its own, and puts what it understands into a draft.
// Whatever is read, what comes out is a job file or an error: the draft proves it
// by reading it again.
package foreign

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"ore/foreign/draft"
	"ore/foreign/fai"
	"ore/foreign/kickstart"
	"ore/foreign/lucie"
	"ore/foreign/names"
	"ore/foreign/preseed"
)

// Kinds returns the words for what can be read.
func Kinds() []string { return []string{"kickstart", "preseed", "fai", "lucie"} }

// Limits of what is read, each with its reason.
const (
	// MaxFile bounds one file: people write these by hand.
	MaxFile = 1 << 20
	// MaxFiles bounds a configuration space.
	MaxFiles = 1000
)

// Source is a file: its name is the path in a folder that was given, or its own.
type Source struct {
	Name string
	Data []byte
}

// Request is what is to be read.
type Request struct {
	Kind    string // one of Kinds
	Name    string // of all that is read, for people
	Sources []Source
	Classes []string    // of FAI
	Names   names.Table // of RPM packages; nil means the built-in ones
}

// Result is a job file, and what it lacks.
type Result struct {
	Job  []byte
	Left []draft.Left
}

// Import makes a job file.
func Import(r Request) (Result, error) {
	d := &draft.Draft{}
	if r.Names == nil {
		r.Names = names.RPM()
	}
	for _, s := range r.Sources {
		if len(s.Data) > MaxFile {
			return Result{}, fmt.Errorf("import %s: larger than %d bytes: this is no description of a machine", s.Name, MaxFile)
		}
		if strings.ContainsRune(string(s.Data), 0) {
			return Result{}, fmt.Errorf("import %s: no text: name a %s file", s.Name, r.Kind)
		}
	}
	if err := r.read(d); err != nil {
		return Result{}, err
	}
	d.Settle(r.Name)
	out, err := d.YAML(r.Name)
	if err != nil {
		return Result{}, fmt.Errorf("import %s: %w", r.Name, err)
	}
	slices.SortStableFunc(d.Left, func(a, b draft.Left) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return Result{Job: out, Left: d.Left}, nil
}

func (r Request) read(d *draft.Draft) error {
	if r.Kind == "fai" {
		all := make([]fai.Source, len(r.Sources))
		for i, s := range r.Sources {
			all[i] = fai.Source{Name: s.Name, Data: text(s.Data)}
		}
		fai.Read(d, all, r.Classes)
		return nil
	}
	for _, s := range r.Sources {
		switch b := text(s.Data); r.Kind {
		case "kickstart":
			kickstart.Read(d, kickstart.Source{Name: s.Name, Data: b}, r.Names)
		case "preseed":
			preseed.Read(d, preseed.Source{Name: s.Name, Data: b})
		case "lucie":
			lucie.Read(d, lucie.Source{Name: s.Name, Data: b})
		default:
			return fmt.Errorf("import %s: unknown kind %q: use %s", r.Name, r.Kind, strings.Join(Kinds(), ", "))
		}
	}
	return nil
}

// text returns what a job file can hold: old files are in encodings of their
// time, of which comments alone have other than ASCII, mostly.
func text(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return []byte(strings.ToValidUTF8(string(b), "?"))
}
