package job

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ore"
)

const whole = `
name: blast
environment:
  base: debian/bookworm
  packages: [ncbi-blast+, "hmmer=3.3.2+dfsg-1"]
  kernel: linux-image-amd64
  files:
    /etc/motd: {content: hello}
    /opt/db: {source: ./db, mode: 0755}
  steps:
    - {name: index, needs: [db], run: "echo two"}
    - {name: db, needs: [], run: "echo one", network: true}
machines: {count: 4, cpus: 2, memory: 512M, disk: 10G, hypervisor: qemu}
network: isolated
run:
  command: [blastp, -version]
  mode: array
  tasks: {glob: "chunks/*.fa"}
  env: {A: b, N: 3}
  secrets: {TOKEN: {file: token}}
  inputs: [query.fa, {source: db, mount: /data/db}, {source: /other/x}]
  outputs: ["*.tsv"]
  timeout: 2h
  retries: 1
  publish: ["8080:1:80"]
`

func TestParseReadsEveryKey(t *testing.T) {
	got, err := Parse("job.yaml", "/home/u", []byte(whole), Default(""))
	if err != nil {
		t.Fatal(err)
	}
	want := ore.Job{
		Name: "blast",
		Wants: ore.Wants{
			Base:     ore.Base{Distribution: "debian", Suite: "bookworm"},
			Packages: []ore.Wish{{Name: "ncbi-blast+"}, {Name: "hmmer", Version: "3.3.2+dfsg-1"}},
			Kernel:   "linux-image-amd64",
			Files: []ore.File{
				{Path: "/etc/motd", Content: []byte("hello")},
				{Path: "/opt/db", Source: "/home/u/db", Mode: 0o755},
			},
			Steps: []ore.Step{
				{Name: "db", Run: "echo one", Network: true},
				{Name: "index", Needs: []string{"db"}, Run: "echo two"},
			},
		},
		Machines: ore.Machines{Count: 4, Hypervisor: "qemu", Resources: ore.Resources{CPUs: 2, Memory: 512 << 20, Disk: 10 << 30}},
		Network:  ore.Isolated,
		Run: ore.Run{
			Command: []string{"blastp", "-version"},
			Mode:    ore.Array,
			Tasks:   ore.Tasks{Glob: "/home/u/chunks/*.fa"},
			Env:     map[string]string{"A": "b", "N": "3"},
			Secrets: map[string]ore.Secret{"TOKEN": {File: "/home/u/token"}},
			Inputs:  []ore.Input{{Source: "/home/u/query.fa"}, {Source: "/home/u/db", Mount: "/data/db"}, {Source: "/other/x"}},
			Outputs: []string{"*.tsv"},
			Timeout: 2 * time.Hour, Retries: 1,
			Publish: []ore.Port{{Listen: "127.0.0.1:8080", Rank: 1, Port: 80}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseFaults(t *testing.T) {
	for _, c := range []struct{ summary, file, want string }{
		{"unknown key", "nam: x\n", `job.yaml:1:1: unknown key "nam" in the job file: allowed are environment, machines, name, network, run`},
		{"unknown nested key", "run:\n  comand: [a]\n", `job.yaml:2:3: unknown key "comand" in run`},
		{"wrong type", "machines: 4\n", `job.yaml:1:11: machines is "4", not a mapping`},
		{"list for string", "name: [a]\n", `job.yaml:1:7: name is a list, not a string`},
		{"command and script", "run:\n  script: x\n  command: [y]\n", `job.yaml:3:3: run.command and run.script: a job has one of them: leave one out`},
		{"string for list", "run: {command: ls}\n", `job.yaml:1:16: run.command is "ls", not a list`},
		{"number out of range", "machines:\n  count: 0\n", `job.yaml:2:10: machines.count is "0": allowed is a whole number from 1 to 4096`},
		{"size", "machines: {memory: lots}\n", `job.yaml:1:20: machines.memory is "lots": allowed is a size from 48M to 4T`},
		{"key twice", "name: a\nname: b\n", `job.yaml:2:1: key "name" of the job file stands in line 1 already`},
		{"network", "network: open\n", `job.yaml:1:10: network is "open": allowed are nat, isolated`},
		{"package", "environment: {packages: [\"Foo Bar\"]}\n", `job.yaml:1:26: package "Foo Bar": not a package name`},
		{"output outside", "run: {outputs: [../x]}\n", `job.yaml:1:17: output "../x"`},
		{"reserved variable", "run: {env: {ORE_RANK: 1}}\n", `job.yaml:1:13: run.env: "ORE_RANK" is not a variable's name`},
		{"steps in a circle", "environment:\n  steps:\n    - {name: a, needs: [b], run: x}\n    - {name: b, needs: [a], run: x}\n", `job.yaml:3:5: step a: it needs itself`},
		{"step needs nothing known", "environment: {steps: [{name: a, needs: [q], run: x}]}\n", `it needs "q", which is no step`},
		{"content and source", "environment: {files: {/a: {content: x, source: y}}}\n", `file /a needs either content or source`},
		{"relative file", "environment: {files: {a: {content: x}}}\n", `file "a": allowed is an absolute path`},
		{"timeout", "run: {timeout: soon}\n", `run.timeout is "soon": allowed is a time such as`},
		{"mount without a source", "run: {inputs: [{mount: /data}]}\n", `job.yaml:1:16: an input needs source`},
		{"a relative mount", "run:\n  inputs:\n    - {source: x, mount: data}\n", `job.yaml:3:26: mount is "data": allowed is an absolute path without . or ..`},
		{"a mount that is not clean", "run: {inputs: [{source: x, mount: /a/../b}]}\n", `job.yaml:1:35: mount is "/a/../b": allowed is an absolute path`},
		{"a mount in memory", "run: {inputs: [{source: x, mount: /proc/x}]}\n", `mount is "/proc/x": a machine has its own /proc: allowed is another path`},
		{"a mount over the system", "run: {inputs: [{source: x, mount: /usr}]}\n", `mount is "/usr": a machine needs what is there`},
		{"an unknown key of an input", "run: {inputs: [{source: x, target: /d}]}\n", `job.yaml:1:28: unknown key "target" in an input: allowed are mount, source`},
		{"an input that is a list", "run: {inputs: [[x]]}\n", `job.yaml:1:16: an item of run.inputs is a list, not a string`},
		{"not yaml", "a: [\n", `job.yaml:`},
	} {
		t.Run(c.summary, func(t *testing.T) {
			_, err := Parse("job.yaml", "/d", []byte(c.file), Default(""))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

// What is no YAML is told as all other faults are: file, line, column, what,
// and what is allowed.
func TestSyntaxFaults(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a: b: c\n", "j.yaml:1:5: a key within a value: allowed is one 'key: value' a line"},
		{"run:\n\tcommand: [x]\n", "j.yaml:2:1: a tab, or one of"},
		{"run:\n  command: [ls\n  mode: each\n", "j.yaml:3:7: a list that begins in line 2 has no end: allowed is [a, b]"},
		{"a: {b: c\n", "j.yaml:2:1: a mapping that begins in line 1 has no end: allowed is {a: b, c: d}"},
		{"name: \"abc\n", "j.yaml:2:1: a quoted value that begins in line 1 has no end: allowed is"},
		{"a:\n  b: 1\n c: 2\n", "j.yaml:3:2: no key of the mapping that begins in line 1: allowed is"},
		{"a: *nope\n", "j.yaml:1:4: an alias (*name) of nothing: allowed are"},
		{"---\na: 1\n---\nb: 2\n", "j.yaml:1:1: more than one document: allowed is one job a file"},
		{"a: \xff\n", "j.yaml:1:1: no text: allowed is UTF-8"},
		{"%YAML 9\n", "j.yaml:1:8: no YAML: "},
	} {
		_, err := Parse("j.yaml", "/", []byte(c.text), Default(""))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v\nwant %s", c.text, err, c.want)
		}
	}
}

// A pipe is a job file, too; its relative paths are the working folder's.
func TestLoadFromAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	io.WriteString(w, "run: {inputs: [x]}\n")
	w.Close()
	j, err := Load(fmt.Sprintf("/proc/self/fd/%d", r.Fd()), Default(""))
	here, _ := os.Getwd()
	if err != nil || len(j.Run.Inputs) != 1 || j.Run.Inputs[0].Source != filepath.Join(here, "x") {
		t.Errorf("%v, %v", j.Run.Inputs, err)
	}
	if _, err := Load(t.TempDir(), Default("")); err == nil || !strings.HasSuffix(err.Error(), ": a folder: use a file or a pipe") {
		t.Errorf("a folder: %v", err)
	}
}

func TestParseReportsAllFaultsInOrder(t *testing.T) {
	_, err := Parse("j", "/d", []byte("machines: {count: x}\nnetwork: y\nnam: z\n"), Default(""))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "j:1:") || !strings.HasPrefix(lines[1], "j:2:") || !strings.HasPrefix(lines[2], "j:3:") {
		t.Errorf("got %q", lines)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.WriteFile(in, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	piped := filepath.Join(dir, "piped")
	if err := errors.Join(os.Mkdir(piped, 0o700), syscall.Mkfifo(filepath.Join(piped, "pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	good := Default("")
	good.Run.Command = []string{"true"}
	good.Run.Inputs = []ore.Input{{Source: in}}
	good.Wants.Files = []ore.File{{Path: "/etc", Source: dir}, {Path: "/etc/motd"}, {Path: "/opt/a"}, {Path: "/runner"}}
	if err := Check(good, true); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		summary string
		change  func(*ore.Job)
		want    string
	}{
		{"no command", func(j *ore.Job) { j.Run.Command = nil }, "no command"},
		{"both", func(j *ore.Job) { j.Run.Script = "x" }, "command and script"},
		{"uml has one cpu", func(j *ore.Job) { j.Machines.Hypervisor = "uml"; j.Machines.CPUs = 4 }, "User Mode Linux has one"},
		{"input missing", func(j *ore.Job) { j.Run.Inputs = []ore.Input{{Source: in + "x"}} }, "no such file"},
		{"an output with an open bracket", func(j *ore.Job) { j.Run.Outputs = []string{"["} }, "output \"[\": not a pattern"},
		{"an input with a pipe in it", func(j *ore.Job) { j.Run.Inputs = []ore.Input{{Source: piped}} }, "pipe is a named pipe: only files, folders and links can be sent: move it out"},
		{"inputs of one name", func(j *ore.Job) { j.Run.Inputs = []ore.Input{{Source: in}, {Source: in}} }, "both would be in"},
		{"array without tasks", func(j *ore.Job) { j.Run.Mode = ore.Array }, "without tasks"},
		{"tasks without array", func(j *ore.Job) { j.Run.Tasks.From = in }, "use mode array"},
		{"rank to publish", func(j *ore.Job) { j.Run.Publish = []ore.Port{{Rank: 1}} }, "no rank 1"},
		{"a file where a folder is", func(j *ore.Job) { j.Wants.Files = []ore.File{{Path: "/etc", Content: []byte("x")}} }, "file /etc: this is a folder of every machine: name a file in it"},
		{"a file copied to where a folder is", func(j *ore.Job) { j.Wants.Files = []ore.File{{Path: "/usr/bin", Source: in}} }, "file /usr/bin: this is a folder"},
		{"a file that machines hide", func(j *ore.Job) { j.Wants.Files = []ore.File{{Path: "/run/x"}} }, "file /run/x: a machine has /run in memory"},
		{"a file below a file", func(j *ore.Job) { j.Wants.Files = []ore.File{{Path: "/opt/a"}, {Path: "/opt/a/b/c"}} }, "file /opt/a/b/c: /opt/a is to be a file"},
		{"an input that is a pipe", func(j *ore.Job) { j.Run.Inputs = []ore.Input{{Source: "/dev/null"}} }, "input /dev/null: a device: use a file or folder"},
		{"two mounts in one place", func(j *ore.Job) { j.Run.Inputs = []ore.Input{{Source: in, Mount: "/d"}, {Source: in, Mount: "/d"}} }, "two are mounted at /d: change one"},
		{"a mount in a mount", func(j *ore.Job) {
			j.Run.Inputs = []ore.Input{{Source: in, Mount: "/d/e"}, {Source: in, Mount: "/dd"}, {Source: in, Mount: "/d"}}
		}, "mount /d/e lies in mount /d, which is read-only"},
		{"a mount in the place of a copy", func(j *ore.Job) { j.Run.Inputs = []ore.Input{{Source: in}, {Source: in, Mount: "/job/in"}} }, "mount /job/in and the copy /job/in are in each other's place"},
		{"a mount that hides a file", func(j *ore.Job) { j.Run.Inputs = []ore.Input{{Source: in, Mount: "/opt"}} }, "file /opt/a: the input that is mounted at /opt hides it"},
		{"a mount from flags where none can be", func(j *ore.Job) { j.Run.Inputs = []ore.Input{{Source: in, Mount: "/dev/shm"}} }, "/dev/shm: a machine has its own /dev"},
		{"more mounts than User Mode Linux has disks", func(j *ore.Job) {
			j.Machines.Hypervisor = "uml"
			for i := range 6 {
				j.Run.Inputs = append(j.Run.Inputs, ore.Input{Source: in, Mount: fmt.Sprintf("/d%d", i)})
			}
		}, "6 are mounted: 5 disks are free with hypervisor uml: put them into one folder"},
		{"little memory", func(j *ore.Job) { j.Machines.Memory = 1 << 20 }, "use 48M to 4T"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			j := good
			c.change(&j)
			if err := Check(j, true); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// An input that whoever runs the job may not read is found before any work.
func TestCheckReadsInputs(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	// The folder above is the test's too, and for nobody else to enter.
	if err := errors.Join(os.WriteFile(in, nil, 0), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	j := Default("")
	j.Run.Inputs = []ore.Input{{Source: in}}
	said := make(chan error)
	go func() {
		// Root reads everything, so this thread opens files as somebody else. It
		// ends with the goroutine.
		runtime.LockOSThread()
		if os.Getuid() == 0 {
			syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
		}
		said <- Check(j, false)
	}()
	if err := <-said; err == nil || !strings.Contains(err.Error(), "permission denied: make it readable for you") {
		t.Errorf("the error is %v", err)
	}
}

func TestParsePort(t *testing.T) {
	for in, want := range map[string]ore.Port{
		"8080:80":         {Listen: "127.0.0.1:8080", Port: 80},
		"0:3:22":          {Listen: "127.0.0.1:0", Rank: 3, Port: 22},
		"0.0.0.0:80:1:80": {Listen: "0.0.0.0:80", Rank: 1, Port: 80},
		"10.0.0.1:80:81":  {Listen: "10.0.0.1:80", Port: 81},
		"[::1]:80:81":     {Listen: "[::1]:80", Port: 81},
	} {
		if got, err := ParsePort(in); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "80", "a:b", "70000:80", "80:0", "host:80:0:80", "[::1:80:80"} {
		if got, err := ParsePort(bad); err == nil {
			t.Errorf("%q: accepted as %+v", bad, got)
		}
	}
}

func TestParseMount(t *testing.T) {
	for in, want := range map[string]ore.Input{
		"db:/data":                                   {Source: "db", Mount: "/data"},
		"./db:/data:ro":                              {Source: "./db", Mount: "/data"},
		"a:b:/data":                                  {Source: "a:b", Mount: "/data"},
		"/a b:/data/a b":                             {Source: "/a b", Mount: "/data/a b"},
		"type=bind,source=/a,target=/b,readonly":     {Source: "/a", Mount: "/b"},
		"type=bind,src=./a,dst=/b,readonly=true":     {Source: "./a", Mount: "/b"},
		"type=bind,source=/a,destination=/b,ro=true": {Source: "/a", Mount: "/b"},
	} {
		if got, err := ParseMount(in); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", in, got, err)
		}
	}
	for bad, why := range map[string]string{
		"": "use SOURCE:PATH", "db": "use SOURCE:PATH", ":/data": "use SOURCE:PATH", "db:": "use SOURCE:PATH",
		"db:data": "absolute path", "db:/data:rw": "read-only: leave rw out", "db:/": "a machine needs what is there",
		"db:/run/x": "a machine has its own /run", "type=tmpfs,target=/x": "use bind", "type=bind,source=/a": "use type=bind,source=SOURCE,target=PATH",
		"type=bind,source=/a,target=/b,readonly=false": "read-only", "type=bind,what=1": "use source, target and readonly",
	} {
		if got, err := ParseMount(bad); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: got %+v, %v", bad, got, err)
		}
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add("db:/data:ro")
	f.Add("type=bind,source=/a,target=/b")
	f.Fuzz(func(t *testing.T, s string) {
		in, err := ParseMount(s)
		if err == nil && (in.Source == "" || !filepath.IsAbs(in.Mount) || filepath.Clean(in.Mount) != in.Mount) {
			t.Errorf("%q: got %+v", s, in)
		}
	})
}

func TestSizesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Min(0).Draw(t, "n")
		got, err := ParseSize(FormatSize(n))
		if err != nil || got != n {
			t.Fatalf("%d is written %s and read %d, %v", n, FormatSize(n), got, err)
		}
	})
	for _, s := range []string{"", "-1", "1.5G", "9999999999T", "G", "iB"} {
		if n, err := ParseSize(s); err == nil {
			t.Errorf("%q: accepted as %d", s, n)
		}
	}
}

// FuzzParse looks for input that makes Parse panic, hang, or give a job that
// Check itself cannot walk.
func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("a: &a [*a]")
	f.Add("run: {command: [ls]}")
	f.Fuzz(func(t *testing.T, s string) {
		j, err := Parse("f", "/nowhere", []byte(s), Default(""))
		if err == nil {
			_ = Check(j, true)
		}
	})
}
