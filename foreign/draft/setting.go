package draft

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ore"
	"ore/job"
)

// User is an account.
type User struct {
	Name, Full, Shell, Home, UID string
	Groups                       []string
	Hash                         string // of the password, as crypt(5) writes it
	System                       bool
}

// plainUser says whether s can be an account's name: adduser(8).
func plainUser(s string) bool {
	if s == "" || len(s) > 32 || s[0] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.')
	})
}

// Account adds a step that makes an account (useradd(8)).
func (p *Place) Account(u User) {
	if !plainUser(u.Name) {
		p.Leave("user "+u.Name, "this is no account's name")
		return
	}
	if u.Name == "root" {
		p.Leave("user root", "it is there already")
		return
	}
	argv := []string{"useradd"}
	option := func(name, value string) {
		if value != "" {
			argv = append(argv, name, Quote(value))
		}
	}
	if u.System {
		argv = append(argv, "-r")
	} else {
		argv = append(argv, "-m")
	}
	if u.Shell == "" {
		u.Shell = "/bin/bash"
	}
	option("-s", u.Shell)
	option("-d", u.Home)
	if n, err := strconv.ParseUint(u.UID, 10, 31); err == nil && n > 0 {
		option("-u", u.UID)
	} else if u.UID != "" {
		p.Leave("uid "+u.UID+" of "+u.Name, "this is no user's number: it gets the next that is free")
	}
	option("-c", u.Full)
	option("-p", u.Hash)
	var groups strings.Builder // steps that make them
	var member []string
	for _, g := range u.Groups {
		if !plainUser(g) {
			p.Leave("group "+g, "this is no group's name")
			continue
		}
		fmt.Fprintf(&groups, "getent group %s >/dev/null || groupadd %s\n", g, g)
		member = append(member, g)
		argv = append(argv, "-G", g)
	}
	argv = joinGroups(argv)
	before := len(p.Steps)
	p.Step("user-"+u.Name, fmt.Sprintf("%s%s %s\n", groups.String(), strings.Join(argv, " "), u.Name), false)
	if len(p.Steps) > before && u.Home == "" && u.Hash == "" && !u.System {
		uid, _ := strconv.Atoi(u.UID) // what is none was said above
		p.accounts = append(p.accounts, account{
			step: p.Steps[before].Name, groups: groups.String(),
			user: ore.User{Name: u.Name, Gecos: u.Full, UID: max(0, uid), Shell: u.Shell, Groups: member},
		})
	}
}

// joinGroups makes one option of several -G, of which useradd takes the last.
func joinGroups(argv []string) []string {
	var out, groups []string
	for i := 0; i < len(argv); i++ {
		if argv[i] == "-G" {
			groups = append(groups, argv[i+1])
			i++
			continue
		}
		out = append(out, argv[i])
	}
	if len(groups) > 0 {
		out = append(out, "-G", strings.Join(groups, ","))
	}
	return out
}

// Group adds a step that makes a group.
func (p *Place) Group(name, gid string) {
	if !plainUser(name) {
		p.Leave("group "+name, "this is no group's name")
		return
	}
	argv := "groupadd "
	if gid != "" {
		argv += "-g " + Quote(gid) + " "
	}
	p.Step("group-"+name, argv+name, false)
}

// Password sets an account's password by its hash; a password itself is left,
// since a job file is no place for secrets.
func (p *Place) Password(user, secret string, hashed bool) {
	switch {
	case !plainUser(user):
		p.Leave("password", "%q is no account's name", user)
	case !hashed:
		p.Leave("password of "+user, "it stands there in the clear, and a job file is no place for it: give its hash (openssl passwd -6)")
	case strings.ContainsAny(secret, " \t\n:"):
		p.Leave("password of "+user, "this is no hash of crypt(5)")
	default:
		p.give("password of "+user, user, func(u *ore.User) { u.Password = secret })
	}
}

// Keys lets who has a key log in as user.
func (p *Place) Keys(user, key string) {
	if !plainUser(user) {
		p.Leave("key", "%q is no account's name", user)
		return
	}
	p.give("key of "+user, user, func(u *ore.User) { u.Keys = append(u.Keys, key) })
}

// maxUsers keeps a draft within what a job file takes.
const maxUsers = 500

// give changes what an account has, unless a job file cannot say so.
func (p *Place) give(what, user string, change func(*ore.User)) (given bool) {
	i := slices.IndexFunc(p.Users, func(u ore.User) bool { return u.Name == user })
	u := ore.User{Name: user}
	if i >= 0 {
		u = p.Users[i]
		u.Keys = slices.Clone(u.Keys)
	}
	change(&u)
	switch err := job.CheckUser(u); {
	case err != nil:
		p.Leave(what, "%v", err)
	case i < 0 && len(p.Users) == maxUsers:
		p.Leave(what, "no more than %d accounts are carried over", maxUsers)
	case i < 0:
		p.Users = append(p.Users, u)
		return true
	default:
		p.Users[i] = u
		return true
	}
	return false
}

// settleAccounts gives accounts what they have by steps, in machines that have no disk of
// their own. Others are given it while they install themselves, so that an image,
// which many may read, knows no password.
func (p *Place) settleAccounts() {
	if p.OnDisk {
		p.machinesOwn()
		return
	}
	for _, u := range p.Users {
		if u.Password != "" {
			p.Step("password-"+u.Name, "usermod -p "+Quote(u.Password)+" "+u.Name, false)
		}
		for _, key := range u.Keys {
			run := fmt.Sprintf("home=$(getent passwd %s | cut -d: -f6)\ninstall -d -m 700 -o %s \"$home/.ssh\"\n", u.Name, u.Name) +
				fmt.Sprintf("echo %s >>\"$home/.ssh/authorized_keys\"\nchown %s \"$home/.ssh/authorized_keys\"\nchmod 600 \"$home/.ssh/authorized_keys\"\n", Quote(key), u.Name)
			p.Step("key-"+u.Name, run, false)
		}
	}
	p.Users = nil
}

// Zone sets the time zone (timezone(5)).
func (p *Place) Zone(zone string) {
	if !plainPath("/"+zone) || strings.Contains(zone, "..") || zone == "" {
		p.Leave("time zone "+zone, "this is no time zone")
		return
	}
	p.Package("tzdata")
	p.Write(zoneFile, zone+"\n", 0)
	p.Step(zoneStep, "ln -sf /usr/share/zoneinfo/"+zone+" /etc/localtime", false)
	p.zone = zone
}

// Locale sets the language (locale(7)).
func (p *Place) Locale(locale string) {
	if !plainPath("/" + strings.ReplaceAll(locale, "@", "_")) {
		p.Leave("language "+locale, "this is no locale")
		return
	}
	name, charset, ok := strings.Cut(locale, ".")
	switch {
	case locale == "C" || locale == "POSIX" || name == "C":
		p.Write("/etc/default/locale", "LANG="+locale+"\n", 0)
		return
	case !ok:
		charset = "UTF-8"
		locale = name + ".UTF-8"
	}
	if strings.EqualFold(charset, "utf8") {
		charset, locale = "UTF-8", name+".UTF-8"
	}
	p.Package("locales")
	p.Write("/etc/default/locale", "LANG="+locale+"\n", 0)
	p.Step("locale", fmt.Sprintf("echo %s >/etc/locale.gen\nlocale-gen", Quote(locale+" "+charset)), false)
}

// Service has a service start with the machine, or not (systemctl(1)).
func (p *Place) Service(name string, starts bool) {
	if !plainPath("/"+name) || name == "" {
		p.Leave("service "+name, "this is no service's name")
		return
	}
	verb := "disable"
	if starts {
		verb = "enable"
	}
	p.Step(verb+"-"+name, "systemctl "+verb+" "+name+" || true", false)
}
