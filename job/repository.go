package job

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"ore"
)

// rpmBase is the distribution of bases of RPM packages.
const rpmBase = "rpm"

// baseFirst reads the base before all else, since what packages and repositories
// may be depends on it.
func (r *reader) baseFirst(n *yaml.Node, w *ore.Wants) {
	if n = r.follow(n); n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		v := n.Content[i+1]
		if n.Content[i].Value != "base" || v.Kind != yaml.ScalarNode {
			continue
		}
		if b, err := ParseBase(v.Value); err == nil {
			w.Base = b
		}
	}
}

// ParseWishFor reads a package as ParseWish does, with a name that packages of
// the base can have.
func ParseWishFor(b ore.Base, s string) (ore.Wish, error) {
	if b.Distribution != rpmBase {
		return ParseWish(s)
	}
	name, version, pinned := strings.Cut(s, "=")
	if !rpmName(name) {
		return ore.Wish{}, fmt.Errorf("package %q: not the name of an RPM package: letters, digits and + - . _", s)
	}
	if pinned && (version == "" || strings.ContainsAny(version, " \t\n/*?[]")) {
		return ore.Wish{}, fmt.Errorf("package %q: malformed version: use one such as 1.5, 1.5-3 or 2:1.5-3", s)
	}
	return ore.Wish{Name: name, Version: version}, nil
}

// rpmName says whether s is made of what RPM packages' names are made of in all
// distributions (Fedora's Packaging Guidelines, Naming).
func rpmName(s string) bool {
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("+-._", rune(c))) {
			return false
		}
	}
	return s != ""
}

// repository reads one of environment.repositories.
func (r *reader) repository(n *yaml.Node, base ore.Base) ore.Repository {
	var rep ore.Repository
	var unsigned bool
	fields := map[string]field{
		"uri": func(_, v *yaml.Node) { rep.URI, _ = r.str("uri", v) },
		"key": func(_, v *yaml.Node) {
			p, ok := r.path("key", v)
			if !ok {
				return
			}
			b, err := os.ReadFile(p)
			if err != nil {
				r.fault(v, "key: %v", err)
			}
			rep.Key = b
		},
	}
	if base.Distribution == rpmBase {
		fields["unsigned"] = func(_, v *yaml.Node) { unsigned = r.boolean("unsigned", v) }
		r.mapping("a repository", n, fields)
		if rep.URI == "" || unsigned == (len(rep.Key) > 0) {
			r.fault(n, "a repository of RPM packages needs uri, and either key or 'unsigned: true'")
		}
		return rep
	}
	rep.Components = []string{"main"}
	fields["suite"] = func(_, v *yaml.Node) { rep.Suite, _ = r.str("suite", v) }
	fields["components"] = func(_, v *yaml.Node) { rep.Components = r.strs("components", v) }
	r.mapping("a repository", n, fields)
	if rep.URI == "" || rep.Suite == "" || len(rep.Key) == 0 {
		r.fault(n, "a repository needs uri, suite and key: only signed repositories are used")
	}
	return rep
}

// checkBase refuses repositories of one kind for a base of another, which flags
// can bring about, and what machines of RPM packages cannot have.
func checkBase(j ore.Job) error {
	w := j.Wants
	if w.Base.Distribution != rpmBase {
		if slices.ContainsFunc(w.Repositories, func(r ore.Repository) bool { return r.Suite == "" }) {
			return fmt.Errorf("base %s: the repositories of the job file are of RPM packages: use a base such as rpm/NAME, or others", w.Base)
		}
		return nil
	}
	if slices.ContainsFunc(w.Repositories, func(r ore.Repository) bool { return r.Suite != "" }) {
		return fmt.Errorf("base %s: the repositories of the job file are Debian's: use a base such as debian/%s, or others", w.Base, DefaultSuite)
	}
	if j.Machines.Root == ore.OnDisk {
		return fmt.Errorf("base %s: machines that install themselves install Debian's packages: leave out root: disk", w.Base)
	}
	return nil
}
