package kickstart

import (
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

// known returns all commands that are understood, and why others are left.
func (r *reader) known() commands {
	c := commands{
		"rootpw": r.rootpw, "user": r.user, "group": r.group, "sshkey": r.sshkey, "lang": r.lang, "timezone": r.timezone,
		"services": r.services, "network": r.network, "bootloader": r.bootloader, "clearpart": r.clearpart,
		"part": r.part, "partition": r.part, "volgroup": r.volgroup, "logvol": r.logvol, "raid": r.raid, "autopart": r.autopart,
		"zerombr": r.zerombr,
	}
	for why, names := range map[string]string{
		noQuestions: "text graphical cmdline install eula firstboot skipx reboot poweroff halt shutdown logging autostep interactive unsupported_hardware",
		itsMachines: "hostname",
		packagesOf:  "url repo nfs cdrom harddrive liveimg ostreesetup module rhsm syspurpose mediacheck hmc",
		"a Debian machine has no keyboard or screen to set up until someone adds one":    "keyboard mouse xconfig monitor vnc rdp displaymode",
		"no firewall is set up: what reaches a machine is said by network and --publish": "firewall",
		"Debian's machines run without SELinux":                                          "selinux",
		"set it in a step, with Debian's own programs":                                   "auth authconfig authselect realm winbind",
		"which disks are used is said by what lies on them: others are left alone":       "ignoredisk",
		"disks of other kinds are found by the kernel alone":                             "iscsi iscsiname fcoe zfcp nvdimm multipath dmraid device deviceprobe driverdisk zipl",
		"a step may make it, once the machine is installed":                              "snapshot btrfs reqpart mount",
		"it belongs to the installer itself":                                             "updates rescue upgrade kdump sshpw timesource pwpolicy method bootc ostreecontainer",
	} {
		for _, n := range strings.Fields(names) {
			c[n] = func(p *draft.Place, words []string) {
				if why != noQuestions {
					p.Leave(strings.Join(append([]string{n}, words...), " "), "%s", why)
				}
			}
		}
	}
	return c
}

// rest notes options that nothing was made of.
func rest(p *draft.Place, command string, o *draft.Options) {
	for _, n := range o.Unknown() {
		p.Leave(command+" --"+n, "there is nothing like it in a job file")
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
	} else if len(o.Rest) > 0 {
		p.Password("root", o.Rest[0], hashed)
	}
	rest(p, "rootpw", &o)
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
	locked := o.Has("lock")
	p.Account(u)
	if password != "" && !locked {
		p.Password(u.Name, password, hashed)
	}
	rest(p, "user", &o)
}

func (r *reader) group(p *draft.Place, words []string) {
	o := draft.Option(words)
	p.Group(o.Get("name"), o.Get("gid"))
	rest(p, "group", &o)
}

func (r *reader) sshkey(p *draft.Place, words []string) {
	o := draft.Option(words)
	if user := o.Get("username"); len(o.Rest) > 0 {
		p.Keys(user, strings.Join(o.Rest, " "))
	}
	rest(p, "sshkey", &o)
}

func (r *reader) lang(p *draft.Place, words []string) {
	o := draft.Option(words)
	if len(o.Rest) > 0 {
		p.Locale(o.Rest[0])
	}
	if o.Has("addsupport") {
		p.Leave("lang --addsupport", "add further languages to /etc/locale.gen in the step locale")
	}
	rest(p, "lang", &o)
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
	rest(p, "timezone", &o)
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
	rest(p, "services", &o)
}

func (r *reader) network(p *draft.Place, words []string) {
	o := draft.Option(words, "activate", "onboot", "noipv6", "noipv4", "nodns", "nodefroute", "no-activate")
	o.Skip("activate", "onboot", "device", "noipv6")
	if b := o.Get("bootproto"); b != "" && b != "dhcp" {
		p.Leave("network --bootproto="+b, "%s", itsMachines)
	}
	for _, n := range o.Unknown() {
		p.Leave("network --"+n, "%s", itsMachines)
	}
}

func (r *reader) bootloader(p *draft.Place, words []string) {
	o := draft.Option(words)
	o.Skip("location", "boot-drive", "driveorder", "timeout")
	for _, n := range o.Unknown() {
		p.Leave("bootloader --"+n, "how the kernel is started is the installer's affair")
	}
}
