package deb

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ore/deb/control"
)

// source is one suite of one archive, with some of its components.
type source struct {
	uri        string // without a slash at its end
	suite      string // or a path that ends in a slash, for a flat archive
	components []string
	signedBy   string // the field's value: paths, fingerprints or a certificate
	key        []byte // the certificate, for a further repository
	further    bool   // not of the base's archive
	optional   bool   // may be absent: guessed from another suite of the host
	foreign    bool   // may be somebody else's: it counts only if the base's distribution made it
}

// root returns the address that the suite's index paths are relative to.
func (s source) root() string {
	if strings.HasSuffix(s.suite, "/") {
		return s.uri + "/" + strings.TrimPrefix(strings.Trim(s.suite, "/"), "./")
	}
	return s.uri + "/dists/" + s.suite
}

// String returns what a person calls the source.
func (s source) String() string { return s.uri + " " + s.suite }

// ErrNoMirror is what is wrong when neither the call nor the host names a mirror.
var ErrNoMirror = errors.New("no mirror: neither --mirror nor ORE_MIRROR is set, and the host's apt configuration names none for this suite: set ORE_MIRROR to the URI of a mirror of the distribution")

// sources returns where the suite of c comes from, in apt's order.
func (c Config) sources() ([]source, error) {
	list, err := c.baseSources()
	if err != nil {
		return nil, err
	}
	for _, r := range c.Repositories {
		if len(r.Key) == 0 {
			return nil, fmt.Errorf("repository %s: it has no key: give the certificate that signs it", r.URI)
		}
		components := r.Components
		if len(components) == 0 && !strings.HasSuffix(r.Suite, "/") {
			components = []string{"main"}
		}
		list = append(list, source{uri: strings.TrimRight(r.URI, "/"), suite: r.Suite,
			components: components, key: r.Key, further: true})
	}
	return list, nil
}

func (c Config) baseSources() ([]source, error) {
	suite := c.Base.Suite
	if c.Mirror != "" {
		components := c.Components
		if len(components) == 0 {
			components = []string{"main"}
		}
		return []source{{uri: strings.TrimRight(c.Mirror, "/"), suite: suite, components: components}}, nil
	}
	entries, err := hostEntries(c.Root)
	if err != nil {
		return nil, err
	}
	if list := matching(entries, suite, suite); len(list) > 0 {
		return list, nil
	}
	for _, served := range servedSuites(c.Root) {
		list := matching(entries, served, suite)
		for i := range list {
			list[i].optional = list[i].suite != suite
		}
		if slices.ContainsFunc(list, func(s source) bool { return s.suite == suite }) {
			return list, nil
		}
	}
	return nil, fmt.Errorf("suite %s: %w", suite, ErrNoMirror)
}

// Source is where packages of a base come from, as apt is told of it
// (sources.list(5)).
type Source struct {
	URI        string // without a slash at its end
	Suite      string
	Components []string
}

// BaseSources returns where the packages of the base come from, in apt's order,
// the mirror that is named or those of the host. What only may exist, guessed
// from another suite of the host, is left out.
func (c Config) BaseSources() ([]Source, error) {
	list, err := c.baseSources()
	var all []Source
	for _, s := range list {
		if !s.optional {
			all = append(all, Source{URI: s.uri, Suite: s.suite, Components: s.components})
		}
	}
	return all, err
}

// suffixes are the parts of a release of Debian that are archives' suites of
// their own.
func suffixes() []string { return []string{"", "-updates", "-security"} }

// matching returns the entries that serve the suite served or a part of it, as
// sources of the suite wanted.
func matching(entries []source, served, wanted string) []source {
	var list []source
	for _, e := range entries {
		for _, suffix := range suffixes() {
			if e.suite != served+suffix || !slices.Contains(e.components, "main") {
				continue
			}
			e.suite, e.foreign = wanted+suffix, true
			if !slices.ContainsFunc(list, func(s source) bool { return s.uri == e.uri && s.suite == e.suite }) {
				list = append(list, e)
			}
		}
	}
	if !slices.ContainsFunc(list, func(s source) bool { return s.suite == wanted }) {
		return nil
	}
	return list
}

// servedSuites returns the names under which a host's configuration may name
// the distribution's archive when it does not name the suite that is wanted.
func servedSuites(root string) []string {
	var names []string
	if s := hostSuite(root); s != "" {
		names = append(names, s)
	}
	return append(names, "stable", "testing", "oldstable", "oldoldstable", "unstable", "sid")
}

// HostSuite returns the suite of the host, "" if it does not run Debian.
func HostSuite() string { return hostSuite("/") }

// hostSuite reads os-release(5).
func hostSuite(root string) string {
	text, err := os.ReadFile(filepath.Join("/", root, "etc/os-release"))
	if err != nil {
		return ""
	}
	fields := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			fields[name] = strings.Trim(value, `"'`)
		}
	}
	if fields["ID"] != "debian" {
		return ""
	}
	return fields["VERSION_CODENAME"]
}

// hostEntries reads the host's apt configuration (sources.list(5)): the file
// sources.list, then the files of sources.list.d in the order of their names.
func hostEntries(root string) ([]source, error) {
	etc := filepath.Join("/", root, "etc/apt")
	list, err := readEntries(filepath.Join(etc, "sources.list"), parseOneLine)
	if err != nil {
		return nil, err
	}
	parts, err := os.ReadDir(filepath.Join(etc, "sources.list.d"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, part := range parts {
		parse := parseOneLine
		switch filepath.Ext(part.Name()) {
		case ".list":
		case ".sources":
			parse = parseDeb822
		default:
			continue
		}
		more, err := readEntries(filepath.Join(etc, "sources.list.d", part.Name()), parse)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

func readEntries(path string, parse func(string) ([]source, error)) ([]source, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("apt configuration %s: %w: correct it, or set ORE_MIRROR", path, err)
	}
	return list, nil
}

// parseOneLine reads the one-line form: deb [ options ] uri suite components.
func parseOneLine(text string) ([]source, error) {
	var list []source
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
		if kind != "deb" {
			continue // deb-src, or nothing
		}
		options := make(map[string]string)
		rest = strings.TrimSpace(rest)
		if inner, ok := strings.CutPrefix(rest, "["); ok {
			inner, after, closed := strings.Cut(inner, "]")
			if !closed {
				return nil, fmt.Errorf("line %d: options without a closing bracket", n)
			}
			for _, o := range strings.Fields(inner) {
				name, value, _ := strings.Cut(o, "=")
				options[strings.ToLower(name)] = value
			}
			rest = after
		}
		words := strings.Fields(rest)
		if len(words) < 2 {
			return nil, fmt.Errorf("line %d: a URI and a suite are needed", n)
		}
		arches := strings.ReplaceAll(options["arch"], ",", " ")
		signedBy := strings.ReplaceAll(options["signed-by"], ",", " ")
		list = append(list, entry{words[:1], words[1:2], words[2:], strings.Fields(arches), signedBy}.sources()...)
	}
	return list, lines.Err()
}

// parseDeb822 reads the form with fields.
func parseDeb822(text string) ([]source, error) {
	var list []source
	for p, err := range control.Paragraphs(text) {
		if err != nil {
			return nil, err
		}
		if !slices.Contains(p.Words("Types"), "deb") || isNo(p.Get("Enabled")) {
			continue
		}
		uris, suites := p.Words("URIs"), p.Words("Suites")
		if len(uris) == 0 || len(suites) == 0 {
			return nil, errors.New("an entry without URIs or Suites")
		}
		signedBy := strings.TrimSpace(strings.Join(p.Lines("Signed-By"), "\n"))
		list = append(list, entry{uris, suites, p.Words("Components"), p.Words("Architectures"), signedBy}.sources()...)
	}
	return list, nil
}

func isNo(s string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(s))
}

// entry is one entry of the host's configuration.
type entry struct {
	uris, suites, components, arches []string

	signedBy string
}

// sources multiplies the entry's lists out, as apt does: every suite of the
// first URI, then those of the next.
func (e entry) sources() []source {
	var list []source
	if len(e.arches) > 0 && !slices.Contains(e.arches, Arch) {
		return nil
	}
	for _, uri := range e.uris {
		if !strings.HasPrefix(uri, "http://") && !strings.HasPrefix(uri, "https://") && !strings.HasPrefix(uri, "file:") {
			continue // cdrom:, tor+http:, mirror+...: nothing that can be read here
		}
		for _, suite := range e.suites {
			list = append(list, source{uri: strings.TrimRight(uri, "/"), suite: suite,
				components: e.components, signedBy: e.signedBy})
		}
	}
	return list
}
