package kickstart

import (
	"slices"
	"strings"

	"ore/foreign/draft"
)

// commands maps a command's name to what reads it.
type commands map[string]func(p *draft.Place, words []string)

// why commands are left that mean something to people who change machines by hand.
const (
	noQuestions = ""
	itsMachines = "machines of a job have a network of their own, where they are called m0, m1 ..."
	packagesOf  = "packages come from the Debian mirror of the site"
)

func (r *reader) command(p *draft.Place, words []string) {
	if len(words) == 0 {
		return
	}
	if read, ok := r.commands[words[0]]; ok {
		read(p, words[1:])
		return
	}
	p.Leave(strings.Join(words, " "), "this command is not known here")
}

// spared are commands that ask for nothing that is not so anyway, as they do alone.
var spared = [...]string{"eula --agreed", "firstboot --disable", "firstboot --disabled", "text --non-interactive", "graphical --non-interactive", "reboot --eject"}

// known returns all commands that are understood, and why others are left.
func (r *reader) known() commands {
	c := commands{
		"rootpw": r.rootpw, "user": r.user, "group": r.group, "sshkey": r.sshkey, "lang": r.lang, "timezone": r.timezone,
		"services": r.services, "network": r.network, "bootloader": r.bootloader, "clearpart": r.clearpart,
		"part": r.part, "partition": r.part, "volgroup": r.volgroup, "logvol": r.logvol, "raid": r.raid, "autopart": r.autopart,
		"zerombr": r.zerombr, "ignoredisk": r.ignoredisk,
	}
	for why, names := range map[string]string{
		noQuestions: "text graphical cmdline install eula firstboot skipx reboot unsupported_hardware",
		"a machine starts from its disk once it is installed": "poweroff halt shutdown",
		itsMachines: "hostname",
		packagesOf:  "url repo nfs cdrom harddrive liveimg ostreesetup module rhsm syspurpose mediacheck hmc",
		"a Debian machine has no keyboard or screen to set up until someone adds one":    "keyboard mouse xconfig monitor vnc rdp displaymode",
		"no firewall is set up: what reaches a machine is said by network and --publish": "firewall",
		"Debian's machines run without SELinux":                                          "selinux",
		"set it in a step, with Debian's own programs":                                   "auth authconfig authselect realm winbind",
		"disks of other kinds are found by the kernel alone":                             "iscsi iscsiname fcoe zfcp nvdimm multipath dmraid device deviceprobe driverdisk zipl",
		"a step may make it, once the machine is installed":                              "snapshot btrfs reqpart mount",
		"it belongs to the installer itself":                                             "updates rescue upgrade kdump sshpw timesource pwpolicy method bootc ostreecontainer logging autostep interactive",
	} {
		for _, n := range strings.Fields(names) {
			c[n] = func(p *draft.Place, words []string) {
				switch whole := strings.Join(append([]string{n}, words...), " "); {
				case why != noQuestions:
					p.Leave(whole, "%s", why)
				case len(words) > 0 && !slices.Contains(spared[:], whole):
					p.Leave(whole, "it belongs to the installer itself")
				}
			}
		}
	}
	return c
}

// rest notes options that nothing was made of, and words after the first so many.
func rest(p *draft.Place, command string, o *draft.Options, words int) {
	for _, w := range o.Left(words) {
		p.Leave(command+" "+w, "there is nothing like it in a job file")
	}
}

func (r *reader) rootpw(p *draft.Place, words []string) {
	o := draft.Option(words, "iscrypted", "plaintext", "lock", "allow-ssh")
	if o.Has("allow-ssh") {
		p.Leave("rootpw --allow-ssh", "set it in /etc/ssh/sshd_config.d, with files")
	}
	hashed := o.Has("iscrypted")
	o.Skip("plaintext")
	if o.Has("lock") {
		p.Step("password-root", "passwd -l root", false)
		locked(p, "root", len(o.Rest) > 0)
	} else if len(o.Rest) > 0 {
		p.Password("root", o.Rest[0], hashed)
	}
	rest(p, "rootpw", &o, 1)
}

func (r *reader) user(p *draft.Place, words []string) {
	o := draft.Option(words, "iscrypted", "plaintext", "lock")
	u := draft.User{Name: o.Get("name"), Full: o.Get("gecos"), Shell: o.Get("shell"), Home: o.Get("homedir"), UID: o.Get("uid")}
	for _, g := range strings.Split(o.Get("groups"), ",") {
		if g = strings.TrimSpace(g); g != "" {
			name, _, _ := strings.Cut(g, "(")
			if name = strings.TrimSpace(name); name == "wheel" {
				name = "sudo" // who may become root is in this group there
			}
			u.Groups = append(u.Groups, name)
		}
	}
	password, hashed := o.Get("password"), o.Has("iscrypted")
	o.Skip("plaintext")
	p.Account(u)
	if o.Has("lock") {
		locked(p, u.Name, password != "")
	} else if password != "" {
		p.Password(u.Name, password, hashed)
	}
	rest(p, "user", &o, 0)
}

// locked notes the password of an account that nobody logs in to with one.
func locked(p *draft.Place, user string, given bool) {
	if given {
		p.Leave("password of "+user, "the account is locked, and has none")
	}
}

func (r *reader) group(p *draft.Place, words []string) {
	o := draft.Option(words)
	p.Group(o.Get("name"), o.Get("gid"))
	rest(p, "group", &o, 0)
}

func (r *reader) sshkey(p *draft.Place, words []string) {
	o := draft.Option(words)
	if user := o.Get("username"); len(o.Rest) > 0 {
		p.Keys(user, strings.Join(o.Rest, " "))
	} else {
		p.Leave("sshkey", "it has no key")
	}
	rest(p, "sshkey", &o, len(o.Rest))
}

func (r *reader) lang(p *draft.Place, words []string) {
	o := draft.Option(words)
	if len(o.Rest) > 0 {
		p.Locale(o.Rest[0])
	}
	if o.Has("addsupport") {
		p.Leave("lang --addsupport", "add further languages to /etc/locale.gen in the step locale")
	}
	rest(p, "lang", &o, 1)
}

func (r *reader) timezone(p *draft.Place, words []string) {
	o := draft.Option(words, "utc", "isUtc", "nontp")
	if len(o.Rest) > 0 {
		p.Zone(o.Rest[0])
	}
	for _, n := range []string{"utc", "isUtc", "nontp", "ntpservers"} {
		if o.Has(n) {
			p.Leave("timezone --"+n, "a machine's clock is its host's")
		}
	}
	rest(p, "timezone", &o, 1)
}

func (r *reader) services(p *draft.Place, words []string) {
	o := draft.Option(words)
	for _, verb := range []string{"enabled", "disabled"} {
		for _, s := range strings.Split(o.Get(verb), ",") {
			if s = strings.TrimSpace(s); s != "" {
				p.Service(s, verb == "enabled")
			}
		}
	}
	rest(p, "services", &o, 0)
}

func (r *reader) network(p *draft.Place, words []string) {
	o := draft.Option(words, "activate", "noipv6", "noipv4", "nodns", "nodefroute", "no-activate")
	o.Skip("activate")
	o.Spare("onboot", "", "yes", "on", "true")
	if b := o.Get("bootproto"); b != "" && b != "dhcp" {
		p.Leave("network --bootproto="+b, "%s", itsMachines)
	}
	for _, w := range o.Left(0) {
		p.Leave("network "+w, "%s", itsMachines)
	}
}

func (r *reader) bootloader(p *draft.Place, words []string) {
	o := draft.Option(words, "disabled", "nombr", "upgrade", "leavebootorder", "extlinux", "iscrypted", "sdboot")
	o.Spare("location", "mbr")
	for _, w := range o.Left(0) {
		p.Leave("bootloader "+w, "how the kernel is started is the installer's affair")
	}
}
