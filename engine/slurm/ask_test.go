package slurm

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ore"
)

func TestSalloc(t *testing.T) {
	for _, c := range []struct {
		summary string
		s       Settings
		r       request
		want    string
	}{
		{
			"what is left to Slurm is not mentioned", Settings{},
			request{job: "blast-1", machines: ore.Machines{Count: 16, Resources: ore.Resources{CPUs: 1, Memory: 256 << 20}}},
			"--no-kill --no-bell --kill-command=TERM --job-name=ore-blast-1 --comment=ore job=blast-1 --ntasks=16 --cpus-per-task=1 --mem-per-cpu=320M",
		},
		{
			"memory is for each CPU, rounded up; time is whole minutes and a margin",
			Settings{Partition: "main", Account: "lab", QOS: "low", Constraint: "intel&ib", Extra: []string{"--exclusive"}},
			request{job: "j", key: "abc", timeout: 90 * time.Second, feature: "ore-1", machines: ore.Machines{Count: 2, Resources: ore.Resources{CPUs: 3, Memory: 1 << 30}}},
			"--no-kill --no-bell --kill-command=TERM --job-name=ore-j --comment=ore job=j key=abc --ntasks=2 --cpus-per-task=3 --mem-per-cpu=363M" +
				" --time=17 --partition=main --account=lab --qos=low --constraint=intel&ib --prefer=ore-1 --exclusive",
		},
		{
			"hosts that are only better are not waited for", Settings{},
			request{job: "j", named: []string{"h1", "h3"}, machines: ore.Machines{Count: 1, Resources: ore.Resources{Memory: 1 << 20}}},
			"--no-kill --no-bell --kill-command=TERM --job-name=ore-j --comment=ore job=j --ntasks=1 --cpus-per-task=1 --mem-per-cpu=65M --nodelist=h1,h3 --immediate=2",
		},
	} {
		if got := strings.Join(c.s.salloc(c.r), " "); got != c.want {
			t.Errorf("%s:\n%s\n%s", c.summary, got, c.want)
		}
	}
}

func TestSettings(t *testing.T) {
	for words, s := range map[string]Settings{
		"partition":        {Partition: "-p"},
		"one word each":    {Extra: []string{"exclusive"}},
		"ore sets this":    {Extra: []string{"--ntasks=3"}},
		"leave it out":     {Extra: []string{"-N4"}},
		"slurm.constraint": {Constraint: "a\nb"},
	} {
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%+v: %v, want something of %q", s, err, words)
		}
	}
	if err := (Settings{Extra: []string{"--exclusive", "--exclude=h3"}}).Check(); err != nil {
		t.Error(err)
	}
}

func TestState(t *testing.T) {
	text := "JobId=12 JobName=ore-x UserId=u(1) JobState=TIMEOUT Reason=TimeLimit Dependency=(null) TimeLimit=00:17:00 NodeList=h[1-4] Comment=a=b"
	s, err := parseState(text)
	if d := cmp.Diff(state{State: "TIMEOUT", Reason: "TimeLimit", Limit: "00:17:00", Hosts: "h[1-4]"}, s); err != nil || d != "" {
		t.Errorf("%v, %s", err, d)
	}
	if _, err := parseState("slurm_load_jobs error"); err == nil {
		t.Error("an answer without a state was taken")
	}
	for st, words := range map[string]string{
		"CANCELLED": "scancel", "TIMEOUT": "longer timeout", "PREEMPTED": "higher priority", "NODE_FAIL": "--exclude",
		"PENDING": "back into the queue", "OUT_OF_MEMORY": "more memory", "FAILED": "scontrol show job 7", "DEADLINE": "deadline", "COMPLETING": "ending it",
	} {
		if err := (state{State: st, Limit: "1"}).over("7"); !strings.HasPrefix(err.Error(), "Slurm job 7: ") || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", st, err)
		}
	}
}

func TestSaid(t *testing.T) {
	for line, want := range map[string]bool{
		`{"addr":"10.0.0.1:7","chain":"10.0.0.1:8","name":"h1"}`: true,
		`{"absent":"h2"}`: true,
		`{"addr":"x"}`:    false, `motd`: false, `{`: false, ``: false,
	} {
		if _, ok := parseSaid(line); ok != want {
			t.Errorf("%q: %v", line, ok)
		}
	}
}

func TestChoose(t *testing.T) {
	all := parseRoom("h1|idle|0/4/0/4|a,b\nh2|mix|2/2/0/4|(null)\nh3|down*|0/0/4/4|a\nh4|idle|0/4/0/4|(null)\nh1|idle|0/4/0/4|a,b\nnonsense\n")
	if len(all) != 4 {
		t.Fatalf("%+v", all)
	}
	was := remembered{Key: "0123456789abcdef", Hosts: []string{"h2", "h1", "h3"}}
	ask := func(count, cpus int) request {
		return request{machines: ore.Machines{Count: count, Resources: ore.Resources{CPUs: cpus}}}
	}
	for _, c := range []struct {
		summary string
		r       request
		want    []string
	}{
		{"as few as do it, the emptiest first", ask(4, 1), []string{"h1"}},
		{"all that are free, and Slurm finds the rest", ask(16, 1), []string{"h1", "h2"}},
		{"none that has no room for one machine", ask(2, 4), []string{"h1"}},
		{"none at all", ask(1, 8), nil},
	} {
		if got, f := choose(all, c.r, was); cmp.Diff(c.want, got) != "" || f != "" {
			t.Errorf("%s: %v %q", c.summary, got, f)
		}
	}
	all[3].features = []string{"ore-0123456789ab"}
	if got, f := choose(all, ask(4, 1), was); got != nil || f != "ore-0123456789ab" {
		t.Errorf("where the site marks hosts: %v %q", got, f)
	}
}

func TestMemory(t *testing.T) {
	dir := t.TempDir()
	m := recall(dir)
	begun := time.Unix(1e9, 0).UTC()
	m.add("a", remembered{Key: "k", Hosts: []string{"h1", "h2"}, Time: begun})
	m.add("a", remembered{Key: "k", Hosts: []string{"h2", "h3"}, Time: begun.Add(1)})
	if err := m.write(dir); err != nil {
		t.Fatal(err)
	}
	if got := recall(dir).Hints["a"].Hosts; cmp.Diff([]string{"h2", "h3", "h1"}, got) != "" {
		t.Errorf("hosts with the same image: %v", got)
	}
	m.add("a", remembered{Key: "other", Hosts: []string{"h9"}, Time: begun.Add(2)})
	if got := m.Hints["a"].Hosts; cmp.Diff([]string{"h9"}, got) != "" {
		t.Errorf("hosts with another image: %v", got)
	}
	for i := range maxHints {
		m.add(strings.Repeat("x", i+1), remembered{Time: begun.Add(time.Hour)})
	}
	if _, ok := m.Hints["a"]; ok || len(m.Hints) != maxHints {
		t.Errorf("%d are remembered, the oldest among them: %v", len(m.Hints), ok)
	}
}

func TestTasksAndNodes(t *testing.T) {
	for text, want := range map[string][]int{"4": {4}, "2(x3),1": {2, 2, 2, 1}, "": nil, "x": nil, "1(x": nil, "0": nil, "1(x99999999)": nil} {
		if d := cmp.Diff(want, parseTasks(text)); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
	got := parseNodes("NodeName=h1 Arch=x86_64 NodeAddr=10.0.0.1 NodeHostName=h1\nNodeName=h2 NodeAddr=h2.example.org\nnothing\n")
	if d := cmp.Diff(map[string]string{"h1": "10.0.0.1", "h2": "h2.example.org"}, got); d != "" {
		t.Error(d)
	}
}

// TestNever has what waits for reasons that pass wait, and refuses the others.
func TestNever(t *testing.T) {
	ctx, r := t.Context(), request{machines: ore.Machines{Count: 2, Resources: ore.Resources{CPUs: 1}}}
	for reason, words := range map[string]string{
		"PartitionTimeLimit": "shorter timeout", "InvalidAccount": "another account", "QOSNotAllowed": "another QOS", "QOSMaxCpuPerJobLimit": "fewer or smaller",
		"Resources": "", "Priority": "", "None": "", "ReqNodeNotAvail": "", "": "", "AssocGrpCpuLimit": "",
	} {
		err := Settings{}.never(ctx, "7", reason, r)
		if words == "" && err != nil || words != "" && (err == nil || !strings.Contains(err.Error(), words) || !strings.HasPrefix(err.Error(), "Slurm job 7: ")) {
			t.Errorf("%s: %v, want %q", reason, err, words)
		}
	}
	for line, want := range map[string]string{"Pending job allocation 12": "12", "job 12 queued and waiting for resources": "12", "Granted job allocation 12": ""} {
		if got := append(queued.FindStringSubmatch(line), "", "")[1]; got != want {
			t.Errorf("%q: job %q, want %q", line, got, want)
		}
	}
}

func TestParseSizes(t *testing.T) {
	text := "h1|1/3/0/4|1000\nh1|1/3/0/4|1000\nh2|0/0/4/4|1\nh3|0/2/0/2|500+\nnonsense\nh4|x|1\n"
	of := func(cpus int, memory int64) request {
		return request{machines: ore.Machines{Resources: ore.Resources{CPUs: cpus, Memory: memory}}}
	}
	for _, c := range []struct {
		r    request
		want int
	}{
		{of(1, 64<<20), 10}, // all CPUs: 4, 4 and 2
		{of(3, 64<<20), 2},
		{of(1, 436<<20), 7}, // 500 MB each: 2, 4 where it is not known, 1
		{of(99, 1<<20), 0},
	} {
		if got, ok := parseSizes(text, c.r); got != c.want || !ok {
			t.Errorf("%+v: %d, %v, want %d", c.r.machines.Resources, got, ok, c.want)
		}
	}
	if _, ok := parseSizes("no line\n", of(1, 1)); ok {
		t.Error("nothing was said, and taken for something")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("JobState=RUNNING Reason=None\n")
	f.Add("h1|idle|0/4/0/4|a,b\n")
	f.Add(`{"addr":"a","name":"b"}`)
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseState(text); err == nil && s.State == "" {
			t.Error("no state")
		}
		parseNodes(text)
		for _, n := range parseTasks(text) {
			if n < 1 {
				t.Error("no task")
			}
		}
		if n, _ := parseSizes(text, request{machines: ore.Machines{Count: 3}}); n < 0 {
			t.Error("less than no machine")
		}
		for _, r := range parseRoom(text) {
			choose([]room{r}, request{machines: ore.Machines{Count: 3}}, remembered{Hosts: []string{r.host}})
		}
		if s, ok := parseSaid(text); ok && s.Absent == "" && s.Addr == "" {
			t.Error("nothing said")
		}
	})
}

func TestHostsLeftOutAreNamed(t *testing.T) {
	heard := &tail{}
	if _, err := heard.Write([]byte("ore: start agent: folder /tmp/ore-7:\n it belongs to another user\n")); err != nil {
		t.Fatal(err)
	}
	e := Engine{allocation: &allocation{id: "7", hosts: []string{"h1", "h2"}}, agents: agents{heard: heard}}
	if got, want := e.leftOut(), "Slurm job 7: no agent on h1, h2: ore: start agent: folder /tmp/ore-7: it belongs to another user"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
