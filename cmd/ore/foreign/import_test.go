package foreign

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore/job"
)

func run(t *testing.T, args ...string) (out, left string, err error) {
	t.Helper()
	return fed(t, "", args...)
}

// fed runs the command with a text as its standard input.
func fed(t *testing.T, in string, args ...string) (out, left string, err error) {
	t.Helper()
	var o, l bytes.Buffer
	c := Command(func(err error) error { return err })
	c.SetArgs(args)
	c.SetIn(strings.NewReader(in))
	c.SetOut(&o)
	c.SetErr(&l)
	c.SilenceErrors, c.SilenceUsage = true, true
	err = c.ExecuteContext(t.Context())
	return o.String(), l.String(), err
}

func put(t *testing.T, name, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// The job file goes to the output alone, what is left to the errors, with the
// path that the user gave.
func TestImport(t *testing.T) {
	ks := put(t, "a.ks", "part / --size=2000\n%packages\nhttpd\nours\n%end\n")
	table := put(t, "map", "httpd nginx\n")
	out, left, err := run(t, "kickstart", ks, "--map", table)
	if err != nil {
		t.Fatal(err)
	}
	j, err := job.Parse("out", "/", []byte(out), job.Default(""))
	if err != nil || len(j.Wants.Packages) != 1 || j.Wants.Packages[0].Name != "nginx" || len(j.Machines.Storage.Disks) != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.HasPrefix(left, ks+":4: ours: no Debian package is known") || strings.Count(left, "\n") != 1 {
		t.Error(left)
	}
}

func TestImportFolder(t *testing.T) {
	p := put(t, "space/package_config/A", "PACKAGES install\nrsync\n")
	if err := os.WriteFile(filepath.Join(filepath.Dir(p), "B"), []byte("PACKAGES install\nless\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, left, err := run(t, "fai", filepath.Dir(filepath.Dir(p)), "--class", "A,C")
	if err != nil || left != "" || !strings.Contains(out, "- rsync") || strings.Contains(out, "less") {
		t.Errorf("%v\n%s\n%s", err, left, out)
	}
}

// A link to a file of the folder is that file; what else is no file is said.
func TestImportLinks(t *testing.T) {
	p := put(t, "space/package_config/A", "PACKAGES install\nrsync\n")
	in := filepath.Dir(p)
	other := put(t, "other", "PACKAGES install\nsecret\n")
	for name, to := range map[string]string{"B": "A", "C": other, "D": "../../space/package_config/none", "E": "../package_config"} {
		if err := os.Symlink(to, filepath.Join(in, name)); err != nil {
			t.Fatal(err)
		}
	}
	out, left, err := run(t, "fai", filepath.Dir(in), "--class", "B,C,D,E")
	if err != nil || !strings.Contains(out, "- rsync") || strings.Contains(out, "secret") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, name := range []string{"C", "D", "E"} {
		if !strings.Contains(left, "package_config/"+name+":1: "+name+": it is neither a file nor a link to one of this folder: put") {
			t.Errorf("nothing is said of %s: %s", name, left)
		}
	}
	if n := strings.Count(left, "\n"); n != 3 {
		t.Errorf("%d lines are left: %s", n, left)
	}
}

// What is called - comes from standard input, also where a file has that name.
func TestImportStandardInput(t *testing.T) {
	t.Chdir(filepath.Dir(put(t, "-", "%packages\nnginx\n%end\n")))
	out, left, err := fed(t, "rootpw --odd\n%packages\nrsync\n%end\n", "kickstart", "-")
	if err != nil || !strings.Contains(out, "- rsync") || !strings.HasPrefix(out, "# Imported from standard input.") {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.HasPrefix(left, "standard input:1: rootpw --odd: ") {
		t.Error(left)
	}
	if _, _, err := fed(t, strings.Repeat("x", 1<<20+1), "kickstart", "-"); err == nil || !strings.Contains(err.Error(), "import standard input: larger than") {
		t.Error(err)
	}
}

// Who may not read it is told what to do; so is who misspelt it.
func TestAdvised(t *testing.T) {
	for cause, want := range map[error]string{fs.ErrPermission: "have it made readable for you", fs.ErrNotExist: "correct the path"} {
		if err := advised(&fs.PathError{Op: "open", Path: "x", Err: cause}); !errors.Is(err, cause) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	file := put(t, "x", "")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"autoyast", file}, `import "autoyast": unknown kind: use kickstart, preseed, fai or lucie`},
		{[]string{"fai", file + "x"}, "no such file or directory: correct the path"},
		{[]string{"kickstart", file, "--map", file + "y"}, "read table"},
		{[]string{"preseed", put(t, "big", strings.Repeat("x", 1<<20+1))}, "larger than 1048576 bytes"},
	} {
		_, _, err := run(t, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.args, err, c.want)
		}
	}
	if _, _, err := run(t, "fai", file+"x"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
