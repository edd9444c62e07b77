package install

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"ore/install/dpkg"
	"ore/install/tree"
)

// extendedStates is where apt remembers which packages nobody asked for.
const extendedStates = "var/lib/apt/extended_states"

// markAutomatic adds packages to apt's list of those that were installed only
// because others need them, so that "apt-get autoremove" knows them.
func markAutomatic(v *tree.View, packages []*dpkg.Package) error {
	if len(packages) == 0 {
		return nil
	}
	old, err := v.ReadFile(extendedStates)
	if err != nil {
		return err
	}
	out := bytes.NewBuffer(old)
	sorted := slices.SortedFunc(slices.Values(packages), func(a, b *dpkg.Package) int { return cmp.Compare(a.Name, b.Name) })
	for _, p := range sorted {
		arch := p.Arch
		if arch == "all" {
			arch = nativeArch
		}
		fmt.Fprintf(out, "Package: %s\nArchitecture: %s\nAuto-Installed: 1\n\n", p.Name, arch)
	}
	return v.WriteFile(extendedStates, 0o644, out.Bytes())
}

// sources writes the apt sources of further repositories in the deb822 form of
// sources.list(5), each with its key. The base's mirror gets none.
func (w *worker) sources(v *tree.View) error {
	n := 0
	for _, s := range w.Environment.Sources {
		if s.URI == "" {
			continue
		}
		n++
		key, ok := w.Keys[s.Key]
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

// aptUser is the user that apt downloads as; its number is fixed (base-passwd).
const aptUser = 42

// asApt leaves the empty locks and the owners of folders that apt leaves when
// it has run once.
func asApt(v *tree.View, o tree.Owners) error {
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
		if err := o.Chown(v.Host(p), aptUser, 0); err != nil {
			return err
		}
		if err := os.Chmod(v.Host(p), 0o700); err != nil {
			return fmt.Errorf("as apt: %w", err)
		}
	}
	return nil
}
