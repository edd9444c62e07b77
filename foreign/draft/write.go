package draft

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"ore"
	"ore/job"
)

// What a job file looks like, in its own order.
type (
	jobFile struct {
		Environment *environment `yaml:"environment,omitempty"`
		Machines    *machines    `yaml:"machines,omitempty"`
	}
	environment struct {
		Base     string    `yaml:"base,omitempty"`
		Packages []string  `yaml:"packages,omitempty"`
		Kernel   string    `yaml:"kernel,omitempty"`
		Files    yaml.Node `yaml:"files,omitempty"`
		Steps    []step    `yaml:"steps,omitempty"`
	}
	file struct {
		Content string `yaml:"content"`
		Mode    string `yaml:"mode,omitempty"`
	}
	step struct {
		Name    string   `yaml:"name"`
		Needs   []string `yaml:"needs,omitempty,flow"`
		Run     string   `yaml:"run"`
		Network bool     `yaml:"network,omitempty"`
	}
	machines struct {
		Count   int      `yaml:"count,omitempty"`
		Root    string   `yaml:"root,omitempty"`
		Disks   []disk   `yaml:"disks,omitempty"`
		Arrays  []array  `yaml:"arrays,omitempty"`
		Volumes []volume `yaml:"volumes,omitempty"`
		System  *system  `yaml:"system,omitempty"`
	}
	system struct {
		TimeZone string `yaml:"timezone,omitempty"`
		Users    []user `yaml:"users,omitempty"`
	}
	user struct {
		Name     string   `yaml:"name"`
		Gecos    string   `yaml:"gecos,omitempty"`
		UID      int      `yaml:"uid,omitempty"`
		Shell    string   `yaml:"shell,omitempty"`
		Groups   []string `yaml:"groups,omitempty,flow"`
		Password string   `yaml:"passwd,omitempty"`
		Keys     []string `yaml:"ssh_authorized_keys,omitempty"`
	}
	disk struct {
		Match      *match      `yaml:"match,omitempty,flow"`
		Table      string      `yaml:"table,omitempty"`
		Wipe       bool        `yaml:"wipe,omitempty"`
		Partitions []partition `yaml:"partitions"`
	}
	match struct {
		Path string `yaml:"path,omitempty"`
	}
	made struct {
		Mount string `yaml:"mount,omitempty"`
		FS    string `yaml:"fs,omitempty"`
		Label string `yaml:"label,omitempty"`
		UUID  string `yaml:"uuid,omitempty"`
	}
	partition struct {
		Size  string `yaml:"size"`
		made  `yaml:",inline"`
		Array string `yaml:"array,omitempty"`
		Group string `yaml:"group,omitempty"`
	}
	array struct {
		Name  string `yaml:"name"`
		Level int    `yaml:"level"`
		made  `yaml:",inline"`
		Group string `yaml:"group,omitempty"`
	}
	volume struct {
		Group string `yaml:"group"`
		Name  string `yaml:"name"`
		Size  string `yaml:"size"`
		made  `yaml:",inline"`
	}
)

// maxPrimary is what a job file's mbr holds: there are no logical partitions.
const maxPrimary = 4

// Settle makes the description of disks one that a job file can have: what
// contradicts itself is left out as a whole, and said.
func (d *Draft) Settle(file string) {
	slices.SortFunc(d.Files, func(a, b ore.File) int { return strings.Compare(a.Path, b.Path) })
	d.Storage.Disks = slices.DeleteFunc(d.Storage.Disks, func(x ore.Disk) bool {
		if len(x.Partitions) == 0 {
			d.At(file, 1).Leave("disk "+x.Match.Path, "nothing is said of what it holds")
		}
		return len(x.Partitions) == 0
	})
	for i := range d.Storage.Disks {
		if x := &d.Storage.Disks[i]; d.keeps(x.Match.Path) {
			x.Wipe = false
		}
	}
	d.OnDisk = d.OnDisk || !d.Storage.Empty()
	d.At(file, 1).settleAccounts()
	if d.Storage.Empty() {
		return
	}
	for i := range d.Storage.Disks {
		if x := &d.Storage.Disks[i]; x.Table == ore.MBR && len(x.Partitions) > maxPrimary {
			d.At(file, 1).Leave("mbr of disk "+x.Match.Path, "it holds no more than %d partitions: gpt is used", maxPrimary)
			x.Table = ore.GPT
		}
	}
	if err := job.CheckStorage(d.Storage); err != nil {
		d.At(file, 1).Leave("all about disks", "together they are no layout: %s; the default one is used", strings.TrimPrefix(err.Error(), "machines: "))
		d.Storage = ore.Storage{}
	}
}

// YAML writes the job file. That it is one is proved by reading it again.
func (d *Draft) YAML(from string) ([]byte, error) {
	f := jobFile{}
	e := environment{Packages: d.Packages, Kernel: d.Kernel}
	if d.Suite != "" {
		e.Base = "debian/" + d.Suite
	}
	for _, s := range d.Steps {
		e.Steps = append(e.Steps, step{s.Name, s.Needs, s.Run, s.Network})
	}
	if err := e.files(d.Files); err != nil {
		return nil, err
	}
	if e.Base != "" || e.Kernel != "" || len(e.Packages)+len(e.Steps)+len(d.Files) > 0 {
		f.Environment = &e
	}
	f.Machines = d.machines()
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Imported from %s. What it lacks is what the machines run: add run, with a command.\n", oneLine(from))
	if slices.ContainsFunc(d.Storage.Disks, func(x ore.Disk) bool { return x.Match.Path != "" }) {
		out.WriteString("# Machines that 'ore run' starts have one disk of their own, whatever it is called: leave match out for them.\n")
	}
	if f.Environment == nil && f.Machines == nil {
		out.WriteString("environment: {}\n") // nothing was understood, and a job file is never empty
		return out.Bytes(), nil
	}
	b, err := yaml.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("write job file: %w", err)
	}
	out.Write(b)
	if _, err := job.Parse("job.yaml", "/", out.Bytes(), job.Default("")); err != nil {
		return nil, fmt.Errorf("write job file: it would be none: %w", err)
	}
	return out.Bytes(), nil
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// files writes the files as a mapping in the order of their paths.
func (e *environment) files(files []ore.File) error {
	if len(files) == 0 {
		return nil
	}
	e.Files.Kind = yaml.MappingNode
	for _, f := range files {
		w := file{Content: string(f.Content)}
		if f.Mode != 0 {
			w.Mode = fmt.Sprintf("%04o", f.Mode)
		}
		var v yaml.Node
		if err := v.Encode(w); err != nil {
			return fmt.Errorf("write job file: %w", err)
		}
		e.Files.Content = append(e.Files.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: f.Path}, &v)
	}
	return nil
}

func (d *Draft) machines() *machines {
	m := machines{Count: d.Count}
	if d.OnDisk {
		m.Root = string(ore.OnDisk)
	}
	for _, x := range d.Storage.Disks {
		w := disk{Table: string(x.Table), Wipe: x.Wipe}
		if x.Match.Path != "" {
			w.Match = &match{x.Match.Path}
		}
		for _, p := range x.Partitions {
			w.Partitions = append(w.Partitions, partition{share(p.Size), use(p.FileSystem), p.Array, p.Group})
		}
		m.Disks = append(m.Disks, w)
	}
	for _, a := range d.Storage.Arrays {
		m.Arrays = append(m.Arrays, array{a.Name, a.Level, use(a.FileSystem), a.Group})
	}
	for _, v := range d.Storage.Volumes {
		m.Volumes = append(m.Volumes, volume{v.Group, v.Name, share(v.Size), use(v.FileSystem)})
	}
	if len(d.Users) > 0 || d.TimeZone != "" {
		m.System = &system{TimeZone: d.TimeZone}
		for _, u := range d.Users {
			m.System.Users = append(m.System.Users, user{u.Name, u.Gecos, u.UID, u.Shell, u.Groups, u.Password, u.Keys})
		}
	}
	if m.Count == 0 && m.Root == "" {
		return nil
	}
	return &m
}

func use(f ore.FileSystem) made {
	if f.FS == "swap" {
		return made{Mount: "swap", Label: f.Label, UUID: f.UUID}
	}
	return made{f.Mount, f.FS, f.Label, f.UUID}
}

func share(s ore.Share) string {
	switch {
	case s.Rest:
		return "rest"
	case s.Percent > 0:
		return fmt.Sprintf("%d%%", s.Percent)
	}
	return job.FormatSize(s.Bytes)
}
