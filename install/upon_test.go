package install

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/image"
)

// Steps go on upon an image that has run some of them, and the tree is the one that
// comes out of a build from nothing; where it might be another, the build begins there.
func TestStepsGoOnUponAnImage(t *testing.T) {
	b, env := fresh(t)
	a := step("a", "", "mkdir /opt/a; echo a > /opt/a/a; rm /usr/bin/hello")
	afterA := step("after", "a", "cp /opt/a/a /opt/copy; test ! -e /usr/bin/hello; rm /opt/a/a")
	side := step("side", "", "mkdir /opt/side; test -e /usr/bin/hello; test ! -e /opt/a; chmod 700 /opt")
	third := step("third", "", "mkdir /srv/third; test -e /usr/bin/hello; test ! -e /opt/side")
	one := step("one", "", "echo one >> /etc/list")
	two := step("two", "", "echo two >> /etc/list")
	both := step("both", "a side", "ls /opt/a /opt/side > /opt/both")
	for _, c := range []struct {
		summary    string
		have, want []ore.Step
		ran        string // what runs, once more if it has to
		refused    string // why the build begins from nothing
	}{
		{"one that needs what was done", []ore.Step{a}, []ore.Step{a, afterA}, "after", ""},
		{"one that does not", []ore.Step{a}, []ore.Step{a, side}, "side", ""},
		{"one that comes first", []ore.Step{side}, []ore.Step{a, side}, "a", ""},
		{"one in between", []ore.Step{a, third}, []ore.Step{a, side, third}, "side", ""},
		{"two more", []ore.Step{a}, []ore.Step{a, side, both}, "side both", ""},
		{"one that needs all", []ore.Step{a, side}, []ore.Step{a, side, third, both}, "third both", ""},
		{"one in the way", []ore.Step{one}, []ore.Step{one, two}, "two two", ""},
		{"one in the way of what comes later", []ore.Step{two}, []ore.Step{one, two}, "one", "in each other's way at /etc/list"},
		{"one that needs some", []ore.Step{a, side}, []ore.Step{a, side, afterA}, "", "needs some"},
		{"one beside what changed each other", []ore.Step{a, afterA}, []ore.Step{a, afterA, side}, "", "need each other"},
		{"what saw more than it needs", []ore.Step{one, two}, []ore.Step{one, two, third}, "", "may have seen more"},
		{"another step of that name", []ore.Step{step("a", "", "true")}, []ore.Step{a, side}, "", "not asked for"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			clean, _, err := ran(t, b, env, c.want...)
			if err != nil {
				t.Fatal(err)
			}
			forgetSteps(t, b)
			have, _, err := ran(t, b, env, c.have...)
			if err != nil {
				t.Fatal(err)
			}
			forgetSteps(t, b)
			got, names, refused := goOnUpon(t, b, have, clean.Environment)
			if c.refused != "" {
				if !strings.Contains(refused, c.refused) {
					t.Errorf("refused %q, want %q", refused, c.refused)
				}
			} else if refused != "" || !slices.Equal(names, strings.Fields(c.ran)) || !slices.Equal(got.Layers[:len(have.Layers)], have.Layers) || len(got.Layers) != len(have.Layers)+1 {
				t.Errorf("ran %v, refused %q, %d layers upon %d", names, refused, len(got.Layers), len(have.Layers))
			}
			if got.Tree != clean.Tree || got.Bytes != clean.Bytes || got.Files != clean.Files || !slices.Equal(got.Apart, clean.Apart) {
				x, y := readImage(t, b.Store, got), readImage(t, b.Store, clean)
				t.Errorf("tree %s, from nothing %s: %v; apart %v, %v", got.Tree.Short(), clean.Tree.Short(), compare(x, y), got.Apart, clean.Apart)
			}
			forgetSteps(t, b)
		})
	}
}

// goOnUpon builds env from an image, and returns which steps ran and why it was refused.
func goOnUpon(t *testing.T, b *Builder, from image.Manifest, env ore.Environment) (m image.Manifest, names []string, refused string) {
	t.Helper()
	b.Watch = func(e ore.Event) {
		name, runs := strings.CutPrefix(e.Text, "run ")
		switch {
		case e.Stage == "refuse":
			refused = e.Text
		case e.Stage == "steps" && runs:
			names = append(names, name)
		case e.Stage == "configure" && refused == "":
			t.Error("packages are configured: ", e.Text)
		}
	}
	m, err := b.Build(t.Context(), Request{Environment: env, From: &from, Files: contents(t, env)})
	if err != nil {
		t.Fatal(err)
	}
	return m, names, refused
}

// contents writes a file for each content of env: its path.
func contents(t *testing.T, env ore.Environment) map[ore.Digest]string {
	t.Helper()
	files := map[ore.Digest]string{}
	for _, f := range env.Files {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, []byte(f.Path), 0o644); err != nil {
			t.Fatal(err)
		}
		files[f.Digest] = name
	}
	return files
}

// Files of the environment are there once, whether the image has run steps or not;
// with other files nothing goes on.
func TestStepsGoOnUponFiles(t *testing.T) {
	b, env := fresh(t)
	const name = "/etc/asked"
	env.Files = []ore.LockedFile{{Path: name, Mode: 0o100644, Digest: ore.DigestOf([]byte(name)), Size: int64(len(name))}}
	build := func(steps ...ore.Step) image.Manifest {
		env.Steps = steps
		m, err := b.Build(t.Context(), Request{Environment: env, Files: contents(t, env)})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	a, side := step("a", "", "mv "+name+" /etc/moved"), step("side", "", "mkdir /opt/side; test -e "+name)
	bare, first, clean := build(), build(a), build(a, side)
	for _, from := range []image.Manifest{bare, first} {
		forgetSteps(t, b)
		got, names, refused := goOnUpon(t, b, from, clean.Environment)
		if refused != "" || names[len(names)-1] != "side" || len(names) != 2-len(from.Environment.Steps) || got.Tree != clean.Tree {
			t.Errorf("upon steps %v: ran %v, refused %q, tree %s, from nothing %s", from.Environment.Steps, names, refused, got.Tree.Short(), clean.Tree.Short())
		}
	}
	other := clean.Environment
	other.Files, other.Steps = nil, []ore.Step{step("other", "", "true")}
	if _, names, refused := goOnUpon(t, b, first, other); !strings.Contains(refused, "other packages or files") {
		t.Errorf("upon other files: ran %v, refused %q", names, refused)
	}
}

// What a step did upon an image is no part of a build that has not that image: two runs
// of one step may differ, and the steps of one tree are to have seen each other.
func TestStepsUponAnImageAreItsOwn(t *testing.T) {
	b, env := fresh(t)
	a := step("a", "", "cat /proc/sys/kernel/random/uuid > /opt/a")
	c := step("c", "a", "cp /opt/a /opt/c")
	first, _, err := ran(t, b, env, a)
	if err != nil {
		t.Fatal(err)
	}
	forgetSteps(t, b)
	all := env
	all.Steps = []ore.Step{a, c}
	build := func(summary string, ran []string, m image.Manifest, names []string) string {
		tree := readImage(t, b.Store, m)
		x, y := string(tree.content["opt/a"]), string(tree.content["opt/c"])
		if x == "" || x != y || !slices.Equal(names, ran) {
			t.Errorf("%s: ran %v, want %v; a has %q, c %q", summary, names, ran, x, y)
		}
		return x
	}
	upon, names, refused := goOnUpon(t, b, first, all)
	one := build("upon the image", []string{"c"}, upon, names)
	if have, err := b.Have(all); err != nil || len(have.Steps) > 0 || refused != "" {
		t.Errorf("for builds from nothing %v is there; %v; refused %q", have.Steps, err, refused)
	}
	clean, names, err := ran(t, b, env, a, c)
	if err != nil {
		t.Fatal(err)
	}
	if two := build("from nothing", []string{"a", "c"}, clean, names); one == two {
		t.Error("a did not run anew")
	}
	again, names, _ := goOnUpon(t, b, first, all)
	if three := build("upon the image again", nil, again, names); one != three {
		t.Error("the image has changed")
	}
}

// A step sees the times that it sees in a build from nothing, whether what is below was
// made just now or unpacked from an image's layers.
func TestStepsSeeTheSameTimes(t *testing.T) {
	b, env := fresh(t)
	a := step("a", "", "echo a > /opt/a; ln -s a /opt/link; mkdir /opt/dir; touch /usr/bin/hello; touch -h /usr/bin/sh")
	c := step("c", "a", `test ! /opt/a -nt /etc/ld.so.cache
		list=$(find /etc /opt/* /usr /var -path /usr/sbin -prune -o -printf '%T@ %p\n')
		echo "$list" > /opt/times`)
	clean, _, err := ran(t, b, env, a, c)
	if err != nil {
		t.Fatal(err)
	}
	forgetSteps(t, b)
	from, _, err := ran(t, b, env, a)
	if err != nil {
		t.Fatal(err)
	}
	got, names, refused := goOnUpon(t, b, from, clean.Environment)
	if refused != "" || !slices.Equal(names, []string{"c"}) {
		t.Errorf("ran %v, refused %q", names, refused)
	}
	x, y := readImage(t, b.Store, got), readImage(t, b.Store, clean)
	there := map[string]bool{}
	for line := range strings.Lines(string(y.content["opt/times"])) {
		there[line] = true
	}
	for line := range strings.Lines(string(x.content["opt/times"])) {
		if !there[line] {
			t.Errorf("upon the image %q, which is not so from nothing", line)
		}
		delete(there, line)
	}
	if len(there) > 0 {
		t.Errorf("from nothing: %v", slices.Collect(maps.Keys(there)))
	}
}
