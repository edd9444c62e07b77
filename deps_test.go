package ore_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rooms is the architecture: each line names a room and the rooms that it may
// import. A room is a top-level folder with all that is in it; what is inside
// may import what its room may, and its own neighbours except where inner says
// otherwise. It is a statement of policy: a new arrow is a decision.
const rooms = `
ore:
job:       ore
foreign:   ore job
squashfs:
chain:
namespace:
testbed:
deb:       ore
image:     ore squashfs
plan:      ore image
install:   ore deb image squashfs namespace
rpm:       ore deb image squashfs install namespace
cache:     ore image
boot:      ore deb squashfs
netboot:   ore boot
vm:        ore
vnet:      ore
guest:     vm
node:      ore image chain boot vm vnet guest
cluster:   ore image plan node guest
engine:    ore image chain vnet guest node cluster
site:      ore job deb squashfs image plan install rpm cache boot vm namespace node cluster engine
cmd/ore:   ore job foreign deb image plan install rpm cache netboot guest node cluster site testbed
cmd/ore-init: guest
bench:     ore image plan squashfs cache chain site testbed
`

// inner holds arrows that are forbidden within a room: drivers do not know each
// other, and what runs in a machine does not know the host's side.
const inner = `
vm/uml      not vm/qemu vm/vmtest
vm/qemu     not vm/uml vm/vmtest
vm/home     not vm/uml vm/qemu vm/vmtest
deb/control not deb/index deb/resolve deb/fetch deb/shelf
`

// interfaces are all that the program has, each with the reason why it is one.
// Before another is added, look for the missing type.
const interfaces = `
vm.Hypervisor     one for each way to run a machine
vm.Machine        what a started one can do
vm.Pauser         an ability that only some machines have
cluster.Images    making images is install's and cache's, not cluster's
cluster.Engine    hosts come from here, or from a batch system
cluster.Node      a host is this process's neighbour, or another host
cluster.Distributor an ability that only engines of hosts elsewhere have
cluster.Publisher an ability that only some nodes have
install.Sandbox   the worker is tested without namespaces
tree.Owners       the part of a sandbox that a tree needs
ethernet.Outlet   a port's other end: a machine's socket, or our own stack
replay.Policy     policies of eviction are compared
deb.Fetcher       builds are tested without a mirror
`

func table(text, separator string) map[string][]string {
	t := map[string][]string{}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		name, rest, _ := strings.Cut(line, separator)
		t[strings.TrimSpace(name)] = strings.Fields(rest)
	}
	return t
}

// source is one Go file of the module.
type source struct {
	folder string // relative to the module's root
	name   string
	file   *ast.File
	set    *token.FileSet
}

// sources parses all files that are not tests.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && p != "." || p == "bin") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{folder: filepath.ToSlash(filepath.Dir(p)), name: filepath.ToSlash(p), file: f, set: set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// roomOf returns the room of a folder.
func roomOf(folder string) string {
	if folder == "." {
		return "ore"
	}
	first, rest, _ := strings.Cut(folder, "/")
	if first == "cmd" {
		second, _, _ := strings.Cut(rest, "/")
		return "cmd/" + second
	}
	return first
}

func TestImportsFollowTheLattice(t *testing.T) {
	allowed := table(rooms, ":")
	forbidden := table(inner, " not ")
	for _, s := range sources(t) {
		room := roomOf(s.folder)
		may, known := allowed[room]
		if !known {
			t.Errorf("%s: room %q is not in the table", s.name, room)
			continue
		}
		for _, i := range s.file.Imports {
			p := strings.Trim(i.Path.Value, `"`)
			if p != "ore" && !strings.HasPrefix(p, "ore/") {
				continue
			}
			folder := strings.TrimPrefix(strings.TrimPrefix(p, "ore"), "/")
			if folder == "" {
				folder = "."
			}
			to := roomOf(folder)
			if to != room && !slices.Contains(may, to) {
				t.Errorf("%s: room %s may not import %s", s.name, room, to)
			}
			if slices.Contains(forbidden[s.folder], folder) {
				t.Errorf("%s: %s may not import %s", s.name, s.folder, folder)
			}
		}
	}
}

func TestLatticeHasNoCircle(t *testing.T) {
	allowed := table(rooms, ":")
	state := map[string]int{}
	var visit func(room string, way []string)
	visit = func(room string, way []string) {
		if state[room] == 1 {
			t.Errorf("circle: %v", append(way, room))
			return
		}
		if state[room] == 2 {
			return
		}
		state[room] = 1
		for _, to := range allowed[room] {
			if _, ok := allowed[to]; !ok {
				t.Errorf("room %s imports %s, which is no room", room, to)
			}
			visit(to, append(way, room))
		}
		state[room] = 2
	}
	for room := range allowed {
		visit(room, nil)
	}
}

func TestInterfacesAreListed(t *testing.T) {
	listed := table(interfaces, " ")
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, spec := range g.Specs {
				ts := spec.(*ast.TypeSpec)
				it, ok := ts.Type.(*ast.InterfaceType)
				if !ok || !ts.Name.IsExported() {
					continue
				}
				name := path.Base(s.folder) + "." + ts.Name.Name
				if _, ok := listed[name]; !ok {
					t.Errorf("%s: interface %s is not listed with a reason", s.set.Position(ts.Pos()), name)
				}
				delete(listed, name)
				if n := it.Methods.NumFields(); n > 5 {
					t.Errorf("%s: interface %s has %d methods, more than 5", s.set.Position(ts.Pos()), name, n)
				}
			}
		}
	}
	for name := range listed {
		t.Errorf("interface %s is listed but does not exist", name)
	}
}
