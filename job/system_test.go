package job

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ore"
)

const described = `machines:
  root: disk
  system:
    users:
      - {name: root, passwd: "$6$salt$hash"}
      - name: ada
        gecos: Ada Lovelace
        uid: 1815
        shell: /bin/sh
        groups: [sudo, adm]
        ssh_authorized_keys: ["ssh-ed25519 AAAA ada@host"]
    locale: de_DE.UTF-8
    timezone: Europe/Berlin
    network: none
    loader: grub
    firmware: uefi
`

func TestSystem(t *testing.T) {
	j, err := Parse("j", "/", []byte(described), Default(""))
	if err != nil {
		t.Fatal(err)
	}
	want := ore.System{
		Users: []ore.User{
			{Name: "root", Password: "$6$salt$hash"},
			{Name: "ada", Gecos: "Ada Lovelace", UID: 1815, Shell: "/bin/sh", Groups: []string{"sudo", "adm"}, Keys: []string{"ssh-ed25519 AAAA ada@host"}},
		},
		Locale: "de_DE.UTF-8", TimeZone: "Europe/Berlin", Network: ore.NoNet, Loader: ore.GRUB, Firmware: ore.UEFI,
	}
	if d := cmp.Diff(want, j.Machines.System); d != "" {
		t.Error(d)
	}
	if err := Check(j, false); err != nil {
		t.Error(err)
	}
}

// Each fault is found, in the file where it stands there, with what is allowed.
func TestSystemFaults(t *testing.T) {
	for _, c := range []struct{ was, is, want string }{
		{"Europe/Berlin", "../../etc/passwd", "j:13:15: timezone is"},
		{"de_DE.UTF-8", "de_DE", "locale is \"de_DE\": allowed is one of UTF-8"},
		{"network: none", "network: static", "j:14:14: network is"},
		{"loader: grub", "loader: lilo", "loader is"},
		{"uid: 1815", "uid: 0", "uid is \"0\""},
		{"gecos: Ada Lovelace", "comment: Ada", `unknown key "comment" in a user`},
		{"gecos: Ada Lovelace", `gecos: "Ada:0:0"`, "gecos is"},
		{"name: ada", "name: root", "j:6:9: user \"root\": uid is 1815: root's is 0"},
		{"{name: root,", "{name: ada,", "two users are called ada"},
		{"name: ada", `name: "ada x"`, "j:6:9: user \"ada x\": not an account's name"},
		{"groups: [sudo, adm]", `groups: ["-G"]`, "not a group's name"},
		{`"$6$salt$hash"`, "secret", "write what 'openssl passwd -6' prints"},
		{"shell: /bin/sh", "shell: sh", "shell is \"sh\": use an absolute path"},
		{`"ssh-ed25519 AAAA ada@host"`, `"AAAA\nBBBB"`, "not a line of authorized_keys"},
		{"loader: grub", "loader: none", "add loader: grub, or leave firmware out"},
	} {
		text := strings.Replace(described, c.was, c.is, 1)
		j, err := Parse("j", "/", []byte(text), Default(""))
		if err == nil {
			err = Check(j, false)
		}
		if text == described || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v\nwant %s", c.is, err, c.want)
		}
	}
}
