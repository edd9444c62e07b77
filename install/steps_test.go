package install

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
)

// verifyStep fails if dpkg or apt find anything wrong with the tree.
const verifyStep = `
dpkg --verify > /tmp/verify 2>&1
dpkg --audit >> /tmp/verify 2>&1
cat /tmp/verify
test ! -s /tmp/verify
apt-get check
`

// An image with files and steps has four layers; the tree that the steps see
// is clean for dpkg and apt.
func TestFilesAndSteps(t *testing.T) {
	env, a := lock(t, "bookworm", "netcat-openbsd")
	src := filepath.Join(t.TempDir(), "motd")
	content := []byte("hello\n")
	if err := os.WriteFile(src, content, 0o600); err != nil {
		t.Fatal(err)
	}
	env.Files = []ore.LockedFile{
		{Path: "/etc/motd", Mode: 0o100640, Digest: ore.DigestOf(content), Size: int64(len(content))},
		{Path: "/opt/db", Mode: 0o040755},
		{Path: "/opt/db/link", Mode: 0o120777, Link: "../motd"},
	}
	env.Steps = []ore.Step{
		{Name: "verify", Run: verifyStep},
		{Name: "change", Needs: []string{"verify"}, Run: `
			test "$(cat /etc/motd)" = hello
			rm -r /usr/share/doc/netcat-openbsd
			rm -r /usr/share/base-files; mkdir /usr/share/base-files; echo new > /usr/share/base-files/new
			groupadd crew; chgrp crew /opt/db; chmod 2775 /opt/db
			test "$(tail -n +3 /proc/net/dev | grep -vc '^ *lo:')" = 0
			echo changed; echo leftover > /tmp/x`},
	}
	b := builder(t, testDir(t), a)
	m, err := b.Build(t.Context(), Request{Environment: env, Files: map[ore.Digest]string{ore.DigestOf(content): src}})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Layers) != 4 || m.Key != env.Key() || m.Layers[3].Key != env.Key() {
		t.Errorf("layers %+v", m.Layers)
	}
	tree := readImage(t, b.Store, m)
	for path, want := range map[string]string{
		"etc/motd": "-rw-r-----", "opt/db": "dgrwxrwxr-x", "opt/db/link": "Lrwxrwxrwx",
		"usr/share/doc/netcat-openbsd": "", "tmp/x": "", "usr/share/base-files/new": "-rw-r--r--",
		"usr/share/base-files/motd": "", "usr/sbin/policy-rc.d": "", "usr/sbin/start-stop-daemon": "-rwxr-xr-x",
	} {
		got := ""
		if n := tree.nodes[path]; n != nil {
			got = n.Mode.String()
		}
		if got != want {
			t.Errorf("%s: mode %q, want %q", path, got, want)
		}
	}
	if string(tree.content["etc/motd"]) != "hello\n" || tree.nodes["opt/db"].GID < 100 {
		t.Errorf("motd %q, group of /opt/db %d", tree.content["etc/motd"], tree.nodes["opt/db"].GID)
	}
	env.Steps = []ore.Step{{Name: "broken", Run: "echo the reason >&2\nfalse\necho never"}}
	_, err = b.Build(t.Context(), Request{Environment: env, Files: map[ore.Digest]string{ore.DigestOf(content): src}})
	if err == nil || !strings.Contains(err.Error(), "step broken") || !strings.Contains(err.Error(), "the reason") || strings.Contains(err.Error(), "never") {
		t.Errorf("a step that fails: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(b.Dir, "work", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, fmt.Sprint(err))
	}
}
