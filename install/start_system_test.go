//go:build system

package install

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"ore/install/dpkg"
	"ore/install/exact"
	"ore/install/sandbox"
)

// pool is what sets are drawn from: programs and libraries of research jobs,
// Perl and Python modules, alternatives, triggers, users.
var pool = strings.Fields(`
	hello jq bc time file pigz lbzip2 xz-utils parallel tree pv less ed nano gawk screen tmux rsync sqlite3 curl wget git
	muscle mafft bowtie2 samtools bcftools bedtools clustalw fasttree bwa minimap2 seqtk tabix hmmer kalign cd-hit phyml raxml mummer
	python3-yaml python3-attr python3-click python3-jinja2 python3-lxml
	libjson-perl libxml-parser-perl libyaml-perl libdbi-perl libwww-perl
	netcat-openbsd iputils-ping libxml2-utils dbus openssh-client sudo cron`)

// pairsWanted is how many pairs must have been built, one from the other, and
// pairsTried how many are tried at most: some are refused.
const (
	pairsWanted = 50
	pairsTried  = 150
)

// Over random pairs of sets, neither of which contains the other, an image made
// from another one is like one made from nothing. ORE_TEST_SEED repeats a run.
func TestStartFromRandomImages(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ORE_TEST_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ORE_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	draw := func(n int) []string {
		var set []string
		for _, i := range random.Perm(len(pool))[:n] {
			set = append(set, pool[i])
		}
		return set
	}
	var used, prerms int
	var took, normal time.Duration
	refused := map[string]int{}
	for range pairsTried {
		if used == pairsWanted {
			break
		}
		both := draw(random.IntN(4))
		from, to := append(draw(1+random.IntN(3)), both...), append(draw(1+random.IntN(3)), both...)
		if contains(from, to) || contains(to, from) {
			continue
		}
		a := try(t, testDir(t), from, to, nil)
		if a.refused != "" {
			refused[a.refused]++
			t.Logf("%v: refused: %s", a, a.refused)
			continue
		}
		t.Logf("%v: %d removed, %d with a prerm, %v; from the base %v", a, len(a.removed), a.prerms, a.took, a.normal)
		used++
		took, normal = took+a.took, normal+a.normal
		if a.prerms > 0 {
			prerms++
		}
	}
	n := 0
	for _, c := range refused {
		n += c
	}
	t.Logf("%d pairs used in %v, from the base %v; %d removed packages with a prerm; %d refused", used, took, normal, prerms, n)
	if used < pairsWanted || prerms < pairsWanted/10 {
		t.Errorf("%d pairs used, %d with a prerm", used, prerms)
	}
}

func contains(a, b []string) bool {
	return !slices.ContainsFunc(b, func(x string) bool { return !slices.Contains(a, x) })
}

// Packages whose scripts nobody knows are tried one by one, and what is seen is
// printed in the form of exact/known.txt: ORE_TEST_LEARN lists them.
func TestLearn(t *testing.T) {
	names := strings.Fields(os.Getenv("ORE_TEST_LEARN"))
	if len(names) == 0 {
		t.Skip("ORE_TEST_LEARN names no packages to learn")
	}
	for _, name := range names {
		for _, c := range [][2][]string{{{name, "hello"}, {"hello"}}, {{"hello"}, {name, "hello"}}} {
			t.Run(fmt.Sprint(c[0], c[1]), func(t *testing.T) {
				a := try(t, testDir(t), c[0], c[1], left(t, c[0], c[1]))
				if a.refused != "" {
					t.Error(a.refused)
				} else if !t.Failed() {
					fmt.Print(a.relied.Text())
				}
			})
		}
	}
}

// left tries a pair and returns which packages' removal leaves what: those whose
// scripts mention it.
func left(t *testing.T, from, to []string) exact.Memory {
	t.Helper()
	have, debs := lock(t, "bookworm", from...)
	want, _ := lock(t, "bookworm", to...)
	b := builder(t, testDir(t), debs)
	first, err := b.Build(t.Context(), Request{Environment: have})
	if err != nil {
		t.Fatal(err)
	}
	clean, err := b.Build(t.Context(), Request{Environment: want})
	if err != nil {
		t.Fatal(err)
	}
	learnt := exact.Memory{}
	made, err := b.Build(t.Context(), Request{Environment: want, From: &first, Try: true})
	if err != nil {
		return learnt
	}
	old, now, usual := readImage(t, b.Store, first), readImage(t, b.Store, made), readImage(t, b.Store, clean)
	var names []string
	for _, file := range []string{"etc/passwd", "etc/group"} {
		for line := range strings.Lines(string(now.content[file])) {
			name, _, _ := strings.Cut(line, ":")
			if !bytes.Contains(append([]byte("\n"), usual.content[file]...), []byte("\n"+name+":")) {
				names = append(names, name)
			}
		}
	}
	for name := range now.nodes {
		if usual.nodes[name] == nil {
			names = append(names, "/"+name)
		}
	}
	for _, name := range names {
		blame(t, old, name, learnt)
	}
	for d, v := range learnt {
		v.Leaves = slices.Compact(slices.Sorted(slices.Values(v.Leaves)))
		v.Remove = true
		learnt[d] = v
	}
	return learnt
}

// blame notes that name is left by the packages whose postinst mentions it.
func blame(t *testing.T, old listed, name string, learnt exact.Memory) {
	t.Helper()
	for script, text := range old.content {
		spec, ok := strings.CutSuffix(script, ".postinst")
		if !ok || path.Dir(script) != infoDir || !bytes.Contains(text, []byte(name)) {
			continue
		}
		files := map[string][]byte{"control": []byte("Package: x\nVersion: 1\nArchitecture: all\n")}
		for _, kind := range []string{"preinst", "postinst", "prerm", "postrm", "config", "triggers"} {
			if b, ok := old.content[spec+"."+kind]; ok {
				files[kind] = b
			}
		}
		p, err := dpkg.New(files, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := exact.Scripts(p)
		v := learnt[d]
		v.Package, v.Leaves = path.Base(spec), append(v.Leaves, name)
		learnt[d] = v
	}
}

func TestStartInEveryTier(t *testing.T) {
	startInTiers(t, sandbox.Root, sandbox.SubIDs, sandbox.Single)
}
