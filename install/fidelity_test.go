package install

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ore/install/tree"
)

// difference is one way in which our trees differ from mmdebstrap's on
// purpose. One that no tested set shows fails the test.
type difference struct {
	name     string
	why      string
	patterns []string // of [path.Match]; nil means any file
	alike    func(name string, ours, theirs listed) bool
}

// differences is the whole list.
func differences() []difference {
	return []difference{
		{
			name:     "host",
			why:      "mmdebstrap copies the host's name, name servers and mirrors; our tree depends on the lock alone, and a machine gets its own at boot",
			patterns: []string{"etc/hostname", "etc/resolv.conf", "etc/apt/sources.list", "etc/apt/sources.list.d/*"},
			alike:    onlyTheirs,
		},
		{
			name:     "logs",
			why:      "what was printed during the build has its times",
			patterns: []string{"var/log/fontconfig.log"},
			alike:    onlyTheirs,
		},
		{
			name:     "caches with times",
			why:      "man-db notes when it saw each folder, so no two builds have one index; mandb makes it anew",
			patterns: []string{"var/cache/man/index.db", "var/cache/man/*/index.db"},
			alike:    onlyTheirs,
		},
		{
			name: "identities",
			why:  "keys that a package makes for its machine must not be shared by all machines of an image",
			patterns: []string{
				"etc/munge/munge.key", "etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub", "etc/ssl/certs/*.0",
				"etc/ssl/certs/ssl-cert-snakeoil.pem", "etc/ssl/private/ssl-cert-snakeoil.key",
			},
			alike: onlyTheirs,
		},
		{
			name: "backups",
			why:  "copies that tools made before they last wrote depend on the order in which packages were configured and are of no use",
			patterns: []string{
				"var/lib/dpkg/*-old", "var/cache/debconf/*-old",
				"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-",
			},
			alike: onlyTheirs,
		},
		{
			name:     "order of paragraphs",
			why:      "apt writes them in the order of its hash table, we by name",
			patterns: []string{"var/lib/apt/extended_states"},
			alike:    sameParts("\n\n"),
		},
		{
			name:     "order of lines",
			why:      "programs append to them in the order in which packages are unpacked or configured, which is no part of the lock: ours are sorted",
			patterns: []string{"etc/shells", "var/lib/dpkg/triggers/*", "var/lib/dpkg/statoverride", "var/lib/ucf/hashfile", "var/lib/ucf/registry"},
			alike:    sameParts("\n"),
		},
		{
			name:     "numbers of the packages' own users",
			why:      "adduser gives the next number in the order in which packages are configured; ours follow from the names",
			patterns: nil,
			alike:    sameNames,
		},
	}
}

func onlyTheirs(name string, ours, _ listed) bool { return ours.nodes[name] == nil }

// sameParts compares files as sets of the parts between separators.
func sameParts(sep string) func(string, listed, listed) bool {
	parts := func(b []byte) []string {
		list := strings.Split(strings.TrimSpace(string(b)), sep)
		slices.Sort(list)
		return list
	}
	return func(name string, ours, theirs listed) bool {
		a, b := ours.nodes[name], theirs.nodes[name]
		return a != nil && b != nil && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID &&
			slices.Equal(parts(ours.content[name]), parts(theirs.content[name]))
	}
}

// accountFiles are the files that have numbers of users and groups in them.
var accountFiles = []string{"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"}

// ownNumber matches the numbers that adduser gives to packages (Policy 9.2.2).
var ownNumber = regexp.MustCompile(`\b1[0-9][0-9]\b`)

// sameNames compares owners by name, and the account files without numbers.
func sameNames(name string, ours, theirs listed) bool {
	a, b := ours.nodes[name], theirs.nodes[name]
	if a == nil || b == nil {
		return false
	}
	if slices.Contains(accountFiles, name) {
		mask := func(l listed) listed {
			content := ownNumber.ReplaceAll(l.content[name], []byte("N"))
			return listed{nodes: l.nodes, content: map[string][]byte{name: content}}
		}
		return sameParts("\n")(name, mask(ours), mask(theirs))
	}
	c := *b
	c.UID, c.GID = a.UID, a.GID
	return tree.Same(a, &c) && ours.owner("etc/passwd", a.UID) == theirs.owner("etc/passwd", b.UID) &&
		ours.owner("etc/group", a.GID) == theirs.owner("etc/group", b.GID)
}

// owner returns the name that a tree's table gives to a number.
func (l *listed) owner(table string, id uint32) string {
	for line := range strings.Lines(string(l.content[table])) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == strconv.Itoa(int(id)) {
			return f[0]
		}
	}
	return strconv.Itoa(int(id))
}

// explains tells whether d is why the file differs.
func (d *difference) explains(name string, ours, theirs listed) bool {
	if d.patterns != nil && !slices.ContainsFunc(d.patterns, func(p string) bool { ok, _ := path.Match(p, name); return ok }) {
		return false
	}
	return d.alike(name, ours, theirs)
}

// fidelity builds the packages, compares the tree with mmdebstrap's, and
// returns the names of the differences that it needed.
func fidelity(t *testing.T, dir string, packages ...string) map[string]bool {
	env, a := lock(t, "bookworm", packages...)
	b := builder(t, dir, a)
	m, err := b.Build(t.Context(), Request{Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	ours := readImage(t, b.Store, m)
	theirs := mmdebstrap(t, "bookworm", epochOf(t, b, env), packages)
	used := map[string]bool{}
	list := differences()
	for _, name := range compare(ours, theirs) {
		i := slices.IndexFunc(list, func(d difference) bool { return d.explains(name, ours, theirs) })
		if i >= 0 {
			used[list[i].name] = true
			continue
		}
		t.Errorf("%s: ours %s, theirs %s", name, describe(ours.nodes[name]), describe(theirs.nodes[name]))
		if d := os.Getenv("ORE_TEST_DIFF"); d != "" {
			flat := filepath.Join(d, strings.ReplaceAll(name, "/", "_"))
			os.WriteFile(flat+".ours", ours.content[name], 0o644)
			os.WriteFile(flat+".theirs", theirs.content[name], 0o644)
		}
	}
	if len(ours.nodes) < 5000 || bytes.Equal(nil, ours.content["etc/passwd"]) {
		t.Errorf("our tree has only %d entries", len(ours.nodes))
	}
	return used
}

// A sample of the comparison, which the system tests make in full.
func TestFidelitySample(t *testing.T) {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("mmdebstrap is not installed")
	}
	fidelity(t, testDir(t), "netcat-openbsd", "iputils-ping", "libcap2-bin")
}
