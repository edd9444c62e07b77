// Package apt leaves in a tree what apt would have left there.
package apt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"ore"
	"ore/install/dpkg"
	"ore/install/tree"
)

// States is where apt remembers which packages nobody asked for, so that
// "apt-get autoremove" knows them.
const States = "var/lib/apt/extended_states"

// user is the user that apt downloads as; its number is fixed (base-passwd).
const user = 42

// paragraph is a package's part of [States].
func paragraph(name, arch string) string {
	return fmt.Sprintf("Package: %s\nArchitecture: %s\nAuto-Installed: 1\n\n", name, arch)
}

// MarkBase writes the states of a base, in which the packages given came along.
func MarkBase(v *tree.View, packages []*dpkg.Package, arch string) error {
	if len(packages) == 0 {
		return nil
	}
	var names []string
	for _, p := range packages {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	var out strings.Builder
	for _, name := range names {
		out.WriteString(paragraph(name, arch))
	}
	return v.WriteFile(States, 0o644, []byte(out.String()))
}

// Automatic returns the states of an environment's tree: those of its base but
// for what was asked for, and then the packages that came along, by name.
func Automatic(base []byte, env ore.Environment) []byte {
	manual := map[string]bool{}
	for _, name := range env.Manual {
		manual[name] = true
	}
	var out bytes.Buffer
	for text := range strings.SplitAfterSeq(string(base), "\n\n") {
		name, _, _ := strings.Cut(strings.TrimPrefix(text, "Package: "), "\n")
		if !manual[name] {
			out.WriteString(text)
		}
	}
	for _, p := range env.Packages {
		if !p.Base && !manual[p.Name] {
			out.WriteString(paragraph(p.Name, env.Arch))
		}
	}
	return out.Bytes()
}

// Sources writes the apt sources of further repositories in the deb822 form of
// sources.list(5), each with its key. The base's mirror gets none.
func Sources(v *tree.View, list []ore.LockedSource, keys map[ore.Digest][]byte) error {
	n := 0
	for _, s := range list {
		if s.URI == "" {
			continue
		}
		n++
		key, ok := keys[s.Key]
		if !ok {
			return fmt.Errorf("source %s: its key %s was not given", s.URI, s.Key.Short())
		}
		ext := "gpg"
		if bytes.HasPrefix(bytes.TrimSpace(key), []byte("-----BEGIN")) {
			ext = "asc"
		}
		keyFile := fmt.Sprintf("etc/apt/keyrings/ore-%d.%s", n, ext)
		if err := v.WriteFile(keyFile, 0o644, key); err != nil {
			return err
		}
		text := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\nSigned-By: /%s\n",
			s.URI, s.Suite, strings.Join(s.Components, " "), keyFile)
		if err := v.WriteFile(fmt.Sprintf("etc/apt/sources.list.d/ore-%d.sources", n), 0o644, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// Ran leaves the empty locks and the owners of folders that apt leaves when it
// has run once.
func Ran(v *tree.View, o tree.Owners) error {
	for _, name := range []string{dpkg.Dir + "/lock-frontend", "var/lib/apt/lists/lock", "var/cache/apt/archives/lock"} {
		if err := v.WriteFile(name, 0o640, nil); err != nil {
			return err
		}
	}
	for _, dir := range []string{"var/lib/apt/lists/partial", "var/cache/apt/archives/partial"} {
		p, err := v.Resolve(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := o.Chown(v.Host(p), user, 0); err != nil {
			return err
		}
		if err := os.Chmod(v.Host(p), 0o700); err != nil {
			return fmt.Errorf("as apt: %w", err)
		}
	}
	return nil
}
