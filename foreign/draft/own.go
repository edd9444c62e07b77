package draft

import (
	"regexp"
	"slices"
	"strings"

	"ore"
	"ore/job"
)

// account is one that a step makes in the image.
type account struct {
	user   ore.User // what it would be in a machine
	step   string   // the step's name
	groups string   // the part of the step that makes its groups
}

// Where the time zone of an image stands.
const (
	zoneStep = "timezone"
	zoneFile = "/etc/timezone"
)

// plainZone is what a job file takes for machines.
var plainZone = regexp.MustCompile(`^[A-Za-z][-A-Za-z0-9_+]*(/[A-Za-z][-A-Za-z0-9_+]*){0,2}$`)

// machinesOwn gives machines that install themselves what is theirs and not their
// image's: accounts, unless a step or file of the image is about them, and the time
// zone.
func (p *Place) machinesOwn() {
	for _, a := range p.accounts {
		if p.concerns(a) || job.CheckUser(a.user) != nil || !p.give("user "+a.user.Name, a.user.Name, a.become) {
			continue
		}
		i := slices.IndexFunc(p.Steps, func(s ore.Step) bool { return s.Name == a.step })
		if a.groups == "" {
			p.Steps = slices.Delete(p.Steps, i, i+1)
			continue
		}
		p.Steps[i].Name, p.Steps[i].Run = p.unused("groups-"+a.user.Name), a.groups
	}
	if plainZone.MatchString(p.zone) {
		p.TimeZone = p.zone
		p.Steps = slices.DeleteFunc(p.Steps, func(s ore.Step) bool {
			return strings.HasPrefix(s.Name, zoneStep) && strings.Contains(s.Run, "/etc/localtime")
		})
		p.Files = slices.DeleteFunc(p.Files, func(f ore.File) bool { return f.Path == zoneFile })
	}
	for i := range p.Steps { // each follows all before it
		if p.Steps[i].Needs = nil; i > 0 {
			p.Steps[i].Needs = []string{p.Steps[i-1].Name}
		}
	}
}

// become makes u the account.
func (a account) become(u *ore.User) {
	password, keys := u.Password, u.Keys
	*u = a.user
	u.Password, u.Keys = password, keys
	if u.Shell == "/bin/bash" { // as it is without
		u.Shell = ""
	}
}

// concerns says whether something else of the image names an account, which then has
// to be there: a script that gives it files, say.
func (p *Place) concerns(a account) bool {
	named := func(text string) bool {
		return slices.Contains(strings.FieldsFunc(text, func(r rune) bool { return !plainUser("x"+string(r)) || r == '.' }), a.user.Name)
	}
	return slices.ContainsFunc(p.Steps, func(s ore.Step) bool { return s.Name != a.step && named(s.Run) }) ||
		slices.ContainsFunc(p.Files, func(f ore.File) bool { return named(f.Path) || named(string(f.Content)) })
}
