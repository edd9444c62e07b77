package foreign

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ore/foreign/names"
	"ore/job"
)

var update = flag.Bool("update", false, "write what comes out into testdata")

// load reads a file of testdata, or all of a folder.
func load(t testing.TB, path string) []Source {
	t.Helper()
	var all []Source
	root := filepath.Join("testdata", path)
	err := filepath.Walk(root, func(p string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		name, _ := filepath.Rel(root, p)
		if name == "." {
			name = path
		}
		all = append(all, Source{name, b})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Each example becomes the job file and the list that stand beside it, which
// were read line by line.
func TestExamples(t *testing.T) {
	for _, c := range []struct {
		kind, path string
		classes    []string
	}{
		{"kickstart", "cluster.ks", nil},
		{"preseed", "server.preseed", nil},
		{"fai", "fai", []string{"DEFAULT", "FAIBASE", "CLUSTER", "LAST"}},
		{"lucie", "lucie/resource.rb", nil},
		{"lucie", "lucie/partition.rb", nil},
		{"lucie", "lucie/package.rb", nil},
		{"lucie", "lucie/lmp-mpi/deft.rb", nil},
		{"lucie", "lucie/partition.old", nil},
	} {
		t.Run(c.path, func(t *testing.T) {
			res, err := Import(Request{Kind: c.kind, Name: c.path, Sources: load(t, c.path), Classes: c.classes})
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			out.Write(res.Job)
			out.WriteString("--- left\n")
			for _, l := range res.Left {
				out.WriteString(l.String() + "\n")
			}
			golden := filepath.Join("testdata", "golden", strings.ReplaceAll(c.path, "/", "_"))
			if *update {
				if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), out.String()); d != "" {
				t.Error(d)
			}
			j, err := job.Parse("job.yaml", "/", res.Job, job.Default(""))
			if err != nil {
				t.Fatal(err)
			}
			if err := job.CheckStorage(j.Machines.Storage); err != nil {
				t.Error(err)
			}
		})
	}
}

// A user's table goes before ours, and what it maps to nothing is left out in
// silence.
func TestMap(t *testing.T) {
	table := names.RPM()
	if err := table.Read(strings.NewReader("# ours\nour-own-tool our-tool libour\n@exotic-group\n"), "map"); err != nil {
		t.Fatal(err)
	}
	res, err := Import(Request{Kind: "kickstart", Name: "k", Names: table, Sources: []Source{{"k", []byte("%packages\nour-own-tool\n@exotic-group\nunknown\n%end\n")}}})
	if err != nil || !strings.Contains(string(res.Job), "- our-tool") || !strings.Contains(string(res.Job), "- libour") {
		t.Fatalf("%v\n%s", err, res.Job)
	}
	if len(res.Left) != 1 || res.Left[0].String() != "k:4: unknown: no Debian package is known for it: give its name with --map, in a line: unknown DEBIAN-NAME" {
		t.Error(res.Left)
	}
}

func TestRefuses(t *testing.T) {
	for _, c := range []struct {
		r    Request
		want string
	}{
		{Request{Kind: "autoyast", Name: "x", Sources: []Source{{"x", nil}}}, `unknown kind "autoyast": use kickstart`},
		{Request{Kind: "fai", Sources: []Source{{"x", []byte{0}}}}, "import x: no text"},
		{Request{Kind: "fai", Sources: []Source{{"x", make([]byte, MaxFile+1)}}}, "import x: larger than"},
	} {
		if _, err := Import(c.r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// Nothing that is read takes from what comes out that it is a job file, or says
// of the user's own lines what is not one line.
func FuzzImport(f *testing.F) {
	for _, path := range []string{"cluster.ks", "server.preseed", "fai", "lucie"} {
		for _, s := range load(f, path) {
			for i := range Kinds() {
				f.Add(i, s.Name, s.Data)
			}
		}
	}
	table := names.RPM()
	f.Fuzz(func(t *testing.T, kind int, name string, data []byte) {
		r := Request{Kind: Kinds()[uint(kind)%4], Name: name, Names: table, Classes: []string{"A", "CLUSTER"}, Sources: []Source{{name, data}}}
		if kind%2 == 1 && r.Kind == "fai" {
			r.Sources = append(r.Sources, Source{"package_config/A", data}, Source{"disk_config/A", data}, Source{"class/A.var", data},
				Source{"scripts/A/1", data}, Source{"debconf/A", data}, Source{"files/" + name + "/A", data})
		}
		res, err := Import(r)
		if err != nil {
			if strings.ContainsRune(string(data), 0) || strings.Contains(err.Error(), "larger than") {
				return
			}
			t.Fatal(err)
		}
		for _, l := range res.Left {
			if strings.Contains(l.What+l.Why, "\n") {
				t.Errorf("%q", l)
			}
		}
	})
}
