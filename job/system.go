package job

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"

	"ore"
)

// Limits of a description of a system, each with its reason.
const (
	// maxUsers is more than anybody writes into a file by hand.
	maxUsers = 1000
	// maxUID is the last that Debian gives to people (Debian policy 9.2.2).
	maxUID = 59999
)

var (
	// accountName is what adduser(8) takes on Debian (NAME_REGEX), as long as
	// utmp(5) can hold it.
	accountName = regexp.MustCompile(`^[a-z][-a-z0-9_]{0,31}$`)
	// localeName is a name of locale.gen(5), which has only those of UTF-8 here.
	localeName = regexp.MustCompile(`^(C|[a-z]{2,3}(_[A-Z]{2})?)\.UTF-8(@[a-z]+)?$`)
	// zoneName is a path below /usr/share/zoneinfo.
	zoneName = regexp.MustCompile(`^[A-Za-z][-A-Za-z0-9_+]*(/[A-Za-z][-A-Za-z0-9_+]*){0,2}$`)
	// crypted is a password as crypt(5) has it.
	crypted = regexp.MustCompile(`^\$[0-9a-zA-Z]+\$[^\s:!*]+$`)
)

func (r *reader) system(n *yaml.Node, s *ore.System) {
	r.mapping("machines.system", n, map[string]field{
		"users": func(_, v *yaml.Node) {
			s.Users = nil
			r.list("users", v, func(v *yaml.Node) { s.Users = append(s.Users, r.user(v)) })
		},
		"locale": func(_, v *yaml.Node) {
			s.Locale = r.matching("locale", v, localeName, "one of UTF-8, such as de_DE.UTF-8")
		},
		"timezone": func(_, v *yaml.Node) {
			s.TimeZone = r.matching("timezone", v, zoneName, "one of tzdata, such as Europe/Berlin")
		},
		"network": func(_, v *yaml.Node) {
			t, _ := r.word("network", v, string(ore.DHCP), string(ore.NoNet))
			s.Network = ore.Setup(t)
		},
		"loader": func(_, v *yaml.Node) {
			if t, _ := r.word("loader", v, string(ore.GRUB), "none"); t != "none" {
				s.Loader = ore.Loader(t)
			}
		},
		"firmware": func(_, v *yaml.Node) {
			t, _ := r.word("firmware", v, string(ore.BIOS), string(ore.UEFI))
			s.Firmware = ore.Firmware(t)
		},
	})
}

// matching reads a text that a pattern holds for.
func (r *reader) matching(what string, n *yaml.Node, pattern *regexp.Regexp, allowed string) string {
	s, ok := r.str(what, n)
	if ok && !pattern.MatchString(s) {
		r.fault(n, "%s is %q: allowed is %s", what, s, allowed)
	}
	return s
}

func (r *reader) user(n *yaml.Node) ore.User {
	var u ore.User
	r.mapping("a user", n, map[string]field{
		"name":                func(_, v *yaml.Node) { u.Name, _ = r.str("name", v) },
		"gecos":               func(_, v *yaml.Node) { u.Gecos, _ = r.str("gecos", v) },
		"uid":                 func(_, v *yaml.Node) { u.UID, _ = r.integer("uid", v, 1, maxUID) },
		"shell":               func(_, v *yaml.Node) { u.Shell, _ = r.str("shell", v) },
		"groups":              func(_, v *yaml.Node) { u.Groups = r.strs("groups", v) },
		"passwd":              func(_, v *yaml.Node) { u.Password, _ = r.str("passwd", v) },
		"ssh_authorized_keys": func(_, v *yaml.Node) { u.Keys = r.strs("ssh_authorized_keys", v) },
	})
	if u.Name == "" {
		r.fault(n, "a user needs name")
	} else if err := CheckUser(u); err != nil {
		r.fault(n, "user %q: %v", u.Name, err)
	}
	return u
}

// checkSystem says what about a system cannot be, whoever described it.
func checkSystem(s ore.System) error {
	if len(s.Users) > maxUsers {
		return fmt.Errorf("machines: %d users: use %d at most", len(s.Users), maxUsers)
	}
	names := map[string]bool{}
	for _, u := range s.Users {
		if names[u.Name] {
			return fmt.Errorf("machines: two users are called %s: rename one", u.Name)
		}
		names[u.Name] = true
		if err := CheckUser(u); err != nil {
			return fmt.Errorf("machines: user %q: %w", u.Name, err)
		}
	}
	if s.Firmware != "" && s.Loader == ore.NoLoader {
		return fmt.Errorf("machines: firmware is %s, but it would find nothing to start: add loader: grub, or leave firmware out", s.Firmware)
	}
	return nil
}

// CheckUser says what about an account cannot be.
func CheckUser(u ore.User) error {
	switch {
	case !accountName.MatchString(u.Name):
		return fmt.Errorf("not an account's name: use lower-case letters, digits, - and _, at most 32")
	case strings.ContainsAny(u.Gecos, ":\n\x00"):
		return fmt.Errorf("gecos is %q: leave colons and line ends out", u.Gecos)
	case u.Shell != "" && (u.Shell[0] != '/' || strings.ContainsAny(u.Shell, ": \n\x00")):
		return fmt.Errorf("shell is %q: use an absolute path", u.Shell)
	case u.Name == "root" && u.UID != 0:
		return fmt.Errorf("uid is %d: root's is 0: leave it out", u.UID)
	case u.Password != "" && !crypted.MatchString(u.Password):
		return fmt.Errorf("passwd is not as crypt(5) has it: write what 'openssl passwd -6' prints")
	}
	for _, g := range u.Groups {
		if !accountName.MatchString(g) {
			return fmt.Errorf("group %q: not a group's name: use lower-case letters, digits, - and _", g)
		}
	}
	for _, k := range u.Keys {
		if strings.ContainsAny(k, "\n\x00") || len(strings.Fields(k)) < 2 {
			return fmt.Errorf("key %.20q: not a line of authorized_keys: write one such as 'ssh-ed25519 AAAA...'", k)
		}
	}
	return nil
}
