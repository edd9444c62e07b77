package deb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/deb/control"
	"ore/deb/index"
)

// TestSameSetAsApt draws packages and combinations of packages by a seed, which
// it logs and which ORE_SEED sets, and compares what Resolve chooses with what
// apt-get would install over the same base set, from the same indexes. The
// whole sample runs under the build tag "system".
func TestSameSetAsApt(t *testing.T) {
	newOracle(t).compare(sample{single: 5, pairs: 1, sets: 1})
}

// sample says how many draws of which kind there are.
type sample struct {
	single int // one package
	pairs  int // two or three
	sets   int // eight to twelve
}

// oracle is apt, with the indexes of an archive and its base set installed.
type oracle struct {
	*testing.T
	archive *Archive
	config  string // path of apt's configuration
	base    ore.Environment
	rand    *rand.Rand
}

// newOracle opens the host's suite and builds a folder for apt in which exactly
// our base set is installed.
func newOracle(t *testing.T) *oracle {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("apt-get is the oracle of this test, and this host does not have it")
	}
	suite := HostSuite()
	if suite == "" {
		suite = "bookworm"
	}
	base := ore.Base{Suite: suite}
	ctx := context.Background()
	a, err := Open(ctx, Config{Dir: t.TempDir(), Base: base, Mirror: os.Getenv("ORE_MIRROR")})
	if errors.Is(err, ErrNoMirror) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	env, err := a.Resolve(ctx, ore.Wants{Base: base})
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ORE_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed: ORE_SEED=%d", seed)
	o := &oracle{T: t, archive: a, base: env, rand: rand.New(rand.NewPCG(seed, 0))}
	o.prepare()
	return o
}

// prepare makes apt's folder.
func (o *oracle) prepare() {
	o.Helper()
	root := o.TempDir()
	for _, dir := range []string{"etc/apt/sources.list.d", "etc/apt/preferences.d", "etc/apt/apt.conf.d",
		"etc/apt/trusted.gpg.d", "state/lists/partial", "cache/archives/partial", "log"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			o.Fatal(err)
		}
	}
	var list, status strings.Builder
	for i, s := range o.archive.sources {
		fmt.Fprintf(&list, "deb [signed-by=%s] %s %s %s\n", o.keys(root, i, s), s.uri, s.suite, strings.Join(s.present(), " "))
	}
	o.write(filepath.Join(root, "etc/apt/sources.list"), list.String())
	o.write(filepath.Join(root, "status"), "")
	o.config = filepath.Join(root, "apt.conf")
	o.write(o.config, fmt.Sprintf(`Dir "%s/"; Dir::Etc "etc/apt/"; Dir::State "state/"; Dir::State::status "%s/status";
Dir::Cache "cache/"; Dir::Log "log/"; APT::Architecture "amd64"; APT::Architectures "amd64";
APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::GzipIndexes "false";
`, root, root))
	if out, err := o.apt("update"); err != nil {
		o.Fatalf("apt-get update: %v\n%s", err, out)
	}
	o.sameIndexes(root)
	for _, p := range o.base.Packages {
		status.WriteString(o.stanza(root, p))
	}
	o.write(filepath.Join(root, "status"), status.String())
}

// keys writes the certificates for a source to files and returns their paths.
func (o *oracle) keys(root string, n int, s opened) string {
	o.Helper()
	trust, err := o.archive.config.trust(s.source)
	if err != nil {
		o.Fatal(err)
	}
	var paths []string
	for i, ring := range trust.rings {
		suffix := ".gpg"
		if bytes.Contains(ring, []byte("-----BEGIN")) {
			suffix = ".asc"
		}
		path := filepath.Join(root, fmt.Sprintf("etc/apt/key%d-%d%s", n, i, suffix))
		o.write(path, string(ring))
		paths = append(paths, path)
	}
	return strings.Join(paths, ",")
}

func (o *oracle) write(path, text string) {
	o.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		o.Fatal(err)
	}
}

// apt runs apt-get, of this folder alone.
func (o *oracle) apt(args ...string) (string, error) {
	cmd := exec.Command("apt-get", args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+o.config, "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// sameIndexes makes sure that the mirror did not change between our fetching
// and apt's.
func (o *oracle) sameIndexes(root string) {
	o.Helper()
	files, err := filepath.Glob(filepath.Join(root, "state/lists/*InRelease"))
	if err != nil || len(files) != len(o.archive.sources) {
		o.Fatalf("apt has %d release files of %d: %v", len(files), len(o.archive.sources), err)
	}
	st := store{dir: filepath.Join(o.archive.config.Dir, "indexes")}
	for _, path := range files {
		apts, err := os.ReadFile(path)
		if err != nil {
			o.Fatal(err)
		}
		if !slices.ContainsFunc(o.archive.sources, func(s opened) bool { return bytes.Equal(st.inRelease(s.source), apts) }) {
			o.Fatalf("the mirror changed while this test began (%s): run it again", path)
		}
	}
}

// stanza returns what dpkg's status would say about p, from apt's indexes.
func (o *oracle) stanza(root string, p ore.Package) string {
	o.Helper()
	lists, err := filepath.Glob(filepath.Join(root, "state/lists/*_Packages"))
	if err != nil {
		o.Fatal(err)
	}
	for _, path := range lists {
		text, err := os.ReadFile(path)
		if err != nil {
			o.Fatal(err)
		}
		for rest := string(text); ; {
			_, after, found := strings.Cut("\n"+rest, "\nPackage: "+p.Name+"\n")
			if !found {
				break
			}
			par, err := control.Parse("Package: " + p.Name + "\n" + after)
			if err != nil {
				o.Fatal(err)
			}
			if par.Get("Version") == p.Version {
				return installedStanza(par)
			}
			rest = after
		}
	}
	o.Fatalf("apt's indexes have no %s", p)
	return ""
}

// installedStanza writes an index's paragraph as one of dpkg's status.
func installedStanza(par control.Paragraph) string {
	var b strings.Builder
	for _, f := range par {
		switch f.Name {
		case "Filename", "Size", "SHA256", "MD5sum", "Description-md5":
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
		if f.Name == "Package" {
			b.WriteString("Status: install ok installed\n")
		}
	}
	return b.String() + "\n"
}

// compare draws the sample and reports every difference.
func (o *oracle) compare(s sample) {
	o.Helper()
	var draws [][]string
	for i := range s.single {
		draws = append(draws, []string{o.draw(i)})
	}
	for i := range s.pairs {
		draws = append(draws, o.drawSet(2+i%2))
	}
	for i := range s.sets {
		draws = append(draws, o.drawSet(8+i%5))
	}
	kinds := make(map[string]int)
	for _, names := range draws {
		o.one(names, kinds)
	}
	o.Logf("%d draws: %v", len(draws), kinds)
}

func (o *oracle) drawSet(n int) []string {
	var names []string
	for i := range n {
		names = append(names, o.draw(i))
	}
	return names
}

// draw returns the name of a package: in turn any, one with alternatives, one
// that conflicts with something, one that needs a virtual package.
func (o *oracle) draw(turn int) string {
	for {
		x := o.archive.sources[0].indexes[0]
		if more := len(o.archive.sources); more > 1 && o.rand.IntN(10) == 0 {
			x = o.archive.sources[1+o.rand.IntN(more-1)].indexes[0]
		}
		if x.Len() == 0 {
			continue
		}
		p := x.Package(o.rand.IntN(x.Len()))
		switch turn % 4 {
		case 0:
			return p.Name
		case 1:
			if strings.Contains(p.Depends, "|") {
				return p.Name
			}
		case 2:
			if p.Conflicts != "" || p.Breaks != "" {
				return p.Name
			}
		case 3:
			if o.needsVirtual(x, p) {
				return p.Name
			}
		}
	}
}

// needsVirtual reports whether p depends on a name that is only provided.
func (o *oracle) needsVirtual(x *index.Index, p index.Package) bool {
	groups, err := control.Relations(p.Depends)
	if err != nil {
		o.Fatal(err)
	}
	for _, g := range groups {
		for _, r := range g {
			if n, ok := x.Lookup(r.Name); ok && n.Packages == 0 && len(x.Provides(n)) > 0 {
				return true
			}
		}
	}
	return false
}

// one compares one draw.
func (o *oracle) one(names []string, kinds map[string]int) {
	o.Helper()
	wants := ore.Wants{Base: o.archive.config.Base}
	for _, n := range names {
		wants.Packages = append(wants.Packages, ore.Wish{Name: n})
	}
	env, err := o.archive.Resolve(context.Background(), wants)
	out, aptErr := o.apt(append([]string{"-s", "install", "--no-install-recommends"}, names...)...)
	if err != nil && aptErr != nil {
		kinds["both refuse"]++
		return
	}
	ours := make(map[string]bool)
	for _, p := range env.Packages {
		if !p.Base {
			ours[p.Name+" "+p.Version] = true
		}
	}
	var diff []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) > 2 && f[0] == "Inst" {
			name := f[1] + " " + strings.Trim(f[2], "([")
			if !ours[name] {
				diff = append(diff, "only apt: "+name)
			}
			delete(ours, name)
		}
		if len(f) > 1 && f[0] == "Remv" {
			diff = append(diff, "apt removes "+f[1])
		}
	}
	for name := range ours {
		diff = append(diff, "only ours: "+name)
	}
	if err != nil || aptErr != nil || len(diff) > 0 {
		kinds["differ"]++
		slices.Sort(diff)
		o.Errorf("%v: ours: %v, apt: %v, %d differences: %s\n%s", names, err, aptErr, len(diff),
			strings.Join(diff[:min(10, len(diff))], "; "), tail(out, aptErr))
		return
	}
	kinds["same"]++
}

// tail returns the end of apt's output when it refused.
func tail(out string, err error) string {
	if err == nil {
		return ""
	}
	return out[max(0, len(out)-1500):]
}
