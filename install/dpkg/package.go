package dpkg

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ore/deb/control"
	"ore/install/tree"
)

// Dir is where the database lies in a tree.
const Dir = "var/lib/dpkg"

// Package is one package that is being unpacked.
type Package struct {
	Name      string
	Version   string
	Arch      string
	Paragraph control.Paragraph
	Files     map[string][]byte // the control member
	Nodes     []tree.Node       // in the archive's order
	Conffiles map[string]string // MD5 by path
	spec      string
}

// New reads the control member of a package.
func New(files map[string][]byte, nodes []tree.Node, conffiles map[string]string) (*Package, error) {
	p, err := control.Parse(string(files["control"]))
	if err != nil {
		return nil, fmt.Errorf("control file: %w", err)
	}
	pkg := &Package{
		Name: p.Get("Package"), Version: p.Get("Version"), Arch: p.Get("Architecture"),
		Paragraph: p, Files: files, Nodes: nodes, Conffiles: conffiles,
	}
	if pkg.Name == "" || pkg.Version == "" || pkg.Arch == "" {
		return nil, fmt.Errorf("control file: no Package, Version or Architecture")
	}
	pkg.spec = pkg.Name
	if p.Get("Multi-Arch") == "same" {
		pkg.spec += ":" + pkg.Arch
	}
	return pkg, nil
}

// Spec returns the name under which the database keeps the package: with its
// architecture if it is Multi-Arch: same.
func (p *Package) Spec() string { return p.spec }

// Status returns the package's paragraph of the status file in the state in
// which dpkg --unpack leaves it, but with every configuration file recorded as
// installed: they are unpacked under their own names.
func (p *Package) Status() []byte {
	var b bytes.Buffer
	first, rest, _ := strings.Cut(strings.TrimRight(string(p.Files["control"]), "\n"), "\n")
	if !strings.HasPrefix(strings.ToLower(first), "package:") {
		first, rest = "Package: "+p.Name, withoutPackage(first+"\n"+rest)
	}
	fmt.Fprintf(&b, "%s\nStatus: install ok unpacked\n", first)
	if len(p.Conffiles) > 0 {
		b.WriteString("Conffiles:\n")
		for _, f := range p.conffileOrder() {
			fmt.Fprintf(&b, " /%s %s\n", f, p.Conffiles[f])
		}
	}
	for line := range strings.Lines(rest) {
		if strings.TrimSpace(line) != "" {
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	return b.Bytes()
}

// withoutPackage drops the Package field where it is not the first one.
func withoutPackage(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.ToLower(line), "package:") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// conffileOrder lists the configuration files as the control member does.
func (p *Package) conffileOrder() []string {
	var list []string
	for line := range strings.Lines(string(p.Files["conffiles"])) {
		f := strings.TrimPrefix(strings.TrimSpace(line), "/")
		if _, ok := p.Conffiles[f]; ok && !slices.Contains(list, f) {
			list = append(list, f)
		}
	}
	return list
}

// List returns the package's list of paths, without those that it leaves to
// packages that replace it.
func (p *Package) List(without map[string]bool) []byte {
	var b bytes.Buffer
	for i := range p.Nodes {
		name := p.Nodes[i].Path
		if without[name] {
			continue
		}
		b.WriteString("/" + name + "\n") // "." gives "/.", as dpkg has it
	}
	return b.Bytes()
}

// InfoFile is one file of the folder info.
type InfoFile struct {
	Name    string
	Mode    uint32
	Content []byte
}

// Info returns the files of the control member under the names that they have
// in the folder info, sorted. The control file itself becomes the paragraph in
// status and is not kept.
func (p *Package) Info() []InfoFile {
	var list []InfoFile
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		if name == "control" || name == "list" {
			continue
		}
		list = append(list, InfoFile{Name: p.spec + "." + name, Mode: ScriptMode(name), Content: p.Files[name]})
	}
	return list
}

// ScriptMode returns the mode of a file of the control member: maintainer
// scripts are executable (Policy 6.1, 10.9).
func ScriptMode(name string) uint32 {
	switch name {
	case "preinst", "postinst", "prerm", "postrm", "config":
		return 0o755
	}
	return 0o644
}

// Idle tells whether a maintainer script does nothing when its package is
// installed for the first time: it has nothing but calls of
// dpkg-maintscript-helper with a version, all of which need a version that was
// installed before (dpkg-maintscript-helper(1), "Integration into packages").
func Idle(script []byte) bool {
	for line := range strings.Lines(string(script)) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if strings.HasSuffix(strings.TrimRight(line, "\n"), "\\") {
			return false
		}
		plain := len(words) == 2 && words[0] == "set" && words[1] == "-e" ||
			len(words) == 2 && words[0] == "exit" && words[1] == "0"
		if plain {
			continue
		}
		if !moves(words) {
			return false
		}
	}
	return true
}

// moves recognises dpkg-maintscript-helper ACTION ... -- "$@" and nothing
// behind it.
func moves(words []string) bool {
	if len(words) < 4 || words[0] != "dpkg-maintscript-helper" {
		return false
	}
	switch words[1] {
	case "rm_conffile", "mv_conffile", "symlink_to_dir", "dir_to_symlink":
	default:
		return false
	}
	if words[len(words)-2] != "--" || words[len(words)-1] != `"$@"` {
		return false
	}
	return !strings.ContainsAny(strings.Join(words[2:len(words)-2], ""), ";&|$`<>()\"'")
}
