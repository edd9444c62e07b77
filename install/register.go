package install

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ore/deb/control"
	"ore/install/apt"
	"ore/install/dpkg"
	"ore/install/load"
)

// register writes the database's files for the packages.
func (u *putter) register(members []*load.Package) error {
	status, err := u.view.ReadFile(statusFile)
	if err != nil {
		return err
	}
	out := bytes.NewBuffer(status)
	packages := make([]*dpkg.Package, len(members))
	for i, x := range members {
		packages[i] = x.Package
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		out.Write(x.Status())
		for _, f := range x.Info() {
			if err := u.view.WriteFile(infoDir+"/"+f.Name, f.Mode, f.Content); err != nil {
				return err
			}
		}
	}
	if err := u.view.WriteFile(statusFile, 0o644, out.Bytes()); err != nil {
		return err
	}
	if err := u.lists(packages); err != nil {
		return err
	}
	if !u.overlaid() {
		if err := apt.MarkBase(u.view, dpkg.Automatic(packages), nativeArch); err != nil {
			return err
		}
	}
	return u.triggers(packages)
}

// lists writes the lists of the packages, and anew those of packages that lost
// files.
func (u *putter) lists(packages []*dpkg.Package) error {
	for _, p := range packages {
		if err := u.view.WriteFile(infoDir+"/"+p.Spec()+".list", 0o644, p.List(u.lost[p.Spec()])); err != nil {
			return err
		}
	}
	for _, spec := range slices.Sorted(maps.Keys(u.lost)) {
		if slices.ContainsFunc(packages, func(p *dpkg.Package) bool { return p.Spec() == spec }) {
			continue
		}
		name := infoDir + "/" + spec + ".list"
		b, err := u.view.ReadFile(name)
		if err != nil {
			return err
		}
		var kept strings.Builder
		for line := range strings.Lines(string(b)) {
			if !u.lost[spec][strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "/")] {
				kept.WriteString(line)
			}
		}
		if err := u.view.WriteFile(name, 0o644, []byte(kept.String())); err != nil {
			return err
		}
	}
	return nil
}

// triggers records the packages' interests and activates the triggers of those
// that are configured already.
func (u *putter) triggers(packages []*dpkg.Package) error {
	file, err := u.view.ReadFile(interestsFile)
	if err != nil {
		return err
	}
	t, err := dpkg.NewTriggers(file)
	if err != nil {
		return err
	}
	for _, p := range packages {
		list, err := p.Interests()
		if err != nil {
			return fmt.Errorf("unpack %s: %w", p.Spec(), err)
		}
		for _, i := range list {
			t.Add(i)
		}
	}
	if err := u.appendTo(interestsFile, t.File(), false); err != nil {
		return err
	}
	for name, lines := range t.Explicit() {
		if err := u.appendTo(triggersDir+"/"+name, lines, true); err != nil {
			return err
		}
	}
	hit := t.Activated(packages, func(spec string) bool { return u.configured[spec] })
	return u.appendTo(pendingFile, hit, true)
}

// appendTo writes a file of the database, behind what it has if keep is set.
// Nothing to write makes no file.
func (u *putter) appendTo(name string, content []byte, keep bool) error {
	if len(content) == 0 {
		return nil
	}
	if keep {
		old, err := u.view.ReadFile(name)
		if err != nil {
			return err
		}
		content = append(old, content...)
	}
	return u.view.WriteFile(name, 0o644, content)
}

// configuredBelow returns the specs of the packages that the phases below have
// configured: all that they have.
func (p *phase) configuredBelow() (map[string]bool, error) {
	v := p.view()
	status, err := v.ReadFile(statusFile)
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for paragraph, err := range control.Paragraphs(string(status)) {
		if err != nil {
			return nil, fmt.Errorf("read status: %w", err)
		}
		spec := paragraph.Get("Package")
		if paragraph.Get("Multi-Arch") == "same" {
			spec += ":" + paragraph.Get("Architecture")
		}
		set[spec] = true
	}
	return set, nil
}
