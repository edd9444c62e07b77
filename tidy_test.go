package ore_test

import (
	"go/ast"
	"go/token"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Budgets of the house style. Beauty is lost in the tail: the largest function,
// the longest file, the exported name without a comment.
const (
	maxFunction    = 70
	p50Function    = 12
	p90Function    = 40
	maxFile        = 500
	p90File        = 350
	maxPackage     = 2500
	maxParameters  = 4 // after a context
	maxPackageDocs = 0 // packages without a doc comment
)

func TestFunctionsAreShort(t *testing.T) {
	var lengths []int
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			f, ok := n.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				return true
			}
			lines := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1
			lengths = append(lengths, lines)
			if lines > maxFunction {
				t.Errorf("%s: %s has %d lines, more than %d", s.set.Position(f.Pos()), f.Name.Name, lines, maxFunction)
			}
			if k := parameters(f.Type); k > maxParameters {
				t.Errorf("%s: %s has %d parameters, more than %d", s.set.Position(f.Pos()), f.Name.Name, k, maxParameters)
			}
			return true
		})
	}
	checkSpread(t, "function", lengths, p50Function, p90Function)
}

// parameters counts those after a leading context.
func parameters(f *ast.FuncType) int {
	n := f.Params.NumFields()
	if n > 0 {
		if sel, ok := f.Params.List[0].Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "Context" {
			n--
		}
	}
	return n
}

func checkSpread(t *testing.T, what string, all []int, p50, p90 int) {
	t.Helper()
	slices.Sort(all)
	at := func(percent int) int { return all[len(all)*percent/100] }
	if m := at(50); p50 > 0 && m > p50 {
		t.Errorf("the median %s has %d lines, more than %d", what, m, p50)
	}
	if m := at(90); m > p90 {
		t.Errorf("a tenth of all %ss have %d lines or more, more than %d", what, m, p90)
	}
}

func TestFilesAndPackagesAreSmall(t *testing.T) {
	packages := map[string]int{}
	var files []int
	for _, s := range sources(t) {
		lines := s.set.Position(s.file.End()).Line
		files = append(files, lines)
		packages[s.folder] += lines
		if lines > maxFile {
			t.Errorf("%s: %d lines, more than %d", s.name, lines, maxFile)
		}
	}
	checkSpread(t, "file", files, 0, p90File)
	for p, n := range packages {
		if n > maxPackage {
			t.Errorf("%s: %d lines, more than %d", p, n, maxPackage)
		}
	}
}

func TestEverythingExportedIsExplained(t *testing.T) {
	documented, folders := map[string]bool{}, map[string]string{}
	for _, s := range sources(t) {
		folders[s.folder] = s.name
		if s.file.Doc.Text() != "" {
			documented[s.folder] = true
		}
		for _, d := range s.file.Decls {
			checkDoc(t, s, d)
		}
	}
	missing := 0
	for f, name := range folders {
		if !documented[f] {
			missing++
			t.Errorf("%s: package without a doc comment", name)
		}
	}
	if missing > maxPackageDocs {
		t.Errorf("%d packages without a doc comment", missing)
	}
}

func checkDoc(t *testing.T, s source, d ast.Decl) {
	t.Helper()
	if s.file.Name.Name == "main" {
		return
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && exportedReceiver(d) && d.Doc.Text() == "" && !wellKnown(d.Name.Name) {
			t.Errorf("%s: %s has no comment", s.set.Position(d.Pos()), d.Name.Name)
		}
	case *ast.GenDecl:
		if d.Tok != token.TYPE && d.Tok != token.CONST && d.Tok != token.VAR {
			return
		}
		for _, spec := range d.Specs {
			checkSpec(t, s, d, spec)
		}
	}
}

func checkSpec(t *testing.T, s source, d *ast.GenDecl, spec ast.Spec) {
	t.Helper()
	var names []*ast.Ident
	var own string
	switch v := spec.(type) {
	case *ast.TypeSpec:
		names, own = []*ast.Ident{v.Name}, v.Doc.Text()+v.Comment.Text()
	case *ast.ValueSpec:
		names, own = v.Names, v.Doc.Text()+v.Comment.Text()
	}
	for _, n := range names {
		if n.IsExported() && d.Doc.Text() == "" && own == "" {
			t.Errorf("%s: %s has no comment", s.set.Position(n.Pos()), n.Name)
		}
	}
}

// exportedReceiver says whether a function is none's method or an exported type's.
func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	e := f.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if index, ok := e.(*ast.IndexExpr); ok {
		e = index.X
	}
	id, ok := e.(*ast.Ident)
	return ok && id.IsExported()
}

// wellKnown are methods whose meaning the standard library gives.
func wellKnown(name string) bool {
	return slices.Contains([]string{"Error", "Unwrap", "String", "Read", "Write", "Close", "Is", "Len", "Less", "Swap"}, name)
}

func TestNamesSaySomething(t *testing.T) {
	empty := regexp.MustCompile(`(^|/)(util|utils|common|helper|helpers|misc|manager|base|types)(/|\.go$)`)
	for _, s := range sources(t) {
		if empty.MatchString(s.name) && !strings.HasSuffix(s.name, "install/base.go") {
			t.Errorf("%s: a name that says nothing", s.name)
		}
	}
}

// TestTextsHoldNoPromisesAndNoHosts looks through all files that git tracks:
// words that promise work for later, and host names of package mirrors, which
// are the host's configuration and no part of the program.
func TestTextsHoldNoPromisesAndNoHosts(t *testing.T) {
	promise := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b|(?i)not (yet )?imple` + `mented|for n` + `ow\b`)
	host := regexp.MustCompile(`(deb|security|snapshot|ftp)\.deb` + `ian\.org|proxy\.golang\.` + `org|registry\.npm` + `js`)
	out, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("not a git checkout, so there is no list of files: %v", err)
	}
	for _, name := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		if strings.Contains(name, "testdata/") || strings.HasPrefix(name, "bench/results/") || name == "go.sum" {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil || strings.ContainsRune(string(b[:min(len(b), 8000)]), 0) {
			continue // removed meanwhile, or no text
		}
		for i, line := range strings.Split(string(b), "\n") {
			if m := promise.FindString(line); m != "" {
				t.Errorf("%s:%d: promises work: %q", name, i+1, m)
			}
			if m := host.FindString(line); m != "" {
				t.Errorf("%s:%d: names a host: %q", name, i+1, m)
			}
		}
	}
}
