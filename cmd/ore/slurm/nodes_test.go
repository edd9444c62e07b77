package slurm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ore/job"
)

func TestNode(t *testing.T) {
	line := "NodeName=vm1 CoresPerSocket=1 CPUTot=2 NodeAddr=10.0.0.5 NodeHostName=vm1 Port=17001 Version=22.05.8 OS=Linux 6.1 #1 SMP RealMemory=512 Reason=none of it [a@b]"
	n, err := parseNode(line)
	if err != nil || n != (node{name: "vm1", addr: "10.0.0.5", port: 17001, cpus: 2, memory: 512 << 20}) {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := parseNode("slurm_load_node error"); err == nil {
		t.Error("no node was taken for one")
	}
	if f := fields("JobId=2 Comment=ore packages=a,b base=debian/bookworm  Power= Features=x&y"); f["Comment"] != "ore packages=a,b base=debian/bookworm" || f["Features"] != "x&y" {
		t.Errorf("%v", f)
	}
	for _, c := range [][3]string{{"head(10.0.0.1)", "head", "10.0.0.1"}, {"head", "head", "head"}} {
		if name, addr := controller(c[0]); name != c[1] || addr != c[2] {
			t.Errorf("%s: %s %s", c[0], name, addr)
		}
	}
}

func TestWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for text, want := range map[string]string{
		`{"jobs":[{"job_id":2,"nodes":"vm1"}],"all_nodes":"vm1"}`:                                                               "vm1",
		`{"all_nodes_resume":"vm[1-3]","jobs":[{"job_id":7,"features":"c1","nodes_alloc":"vm[1-4]","nodes_resume":"vm[1-3]"}]}`: "vm[1-3]",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := readWaiting(path)
		if err != nil || len(w) != 1 || w[0].Nodes+w[0].Old != want {
			t.Errorf("%s: %+v, %v", text, w, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "blast.yaml"), []byte("environment: {packages: [ncbi-blast+]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		summary string
		w       waiting
		want    string
	}{
		{"by comment", waiting{comment: "ore packages=hello,jq=1.6-2 base=debian/trixie", features: "blast"}, "debian/trixie hello jq=1.6-2"},
		{"by feature", waiting{features: "ib&blast*2"}, "debian/bookworm ncbi-blast+"},
		{"by nothing", waiting{comment: "mine", features: "ib"}, "debian/bookworm"},
	} {
		j, err := environment(c.w, dir)
		if err != nil {
			t.Fatal(err)
		}
		got := j.Wants.Base.String()
		for _, p := range j.Wants.Packages {
			got += " " + p.String()
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.summary, d)
		}
	}
	for _, bad := range []string{"ore packages=../x", "ore base=/etc", "ore packages=a;b"} {
		if _, err := environment(waiting{comment: bad}, dir); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestScript(t *testing.T) {
	m := machine{node: node{name: "vm1"}, job: job.Default("bookworm"), cluster: cluster{
		settings: parseConfig("AuthInfo                = socket=/x/sock,cred_expire=5\nSlurmdSpoolDir = /x/spool/%n\nSlurmdPidFile=(null)\n"),
		hosts:    "10.0.0.1 head\n",
	}}
	s := m.script()
	for _, part := range []string{"mkdir -p -m 755 '/x/spool/vm1'", "--socket='/x/sock'", "slurmd -b -N vm1 -f /etc/slurm/slurm.conf", "10.0.0.1 head\nEOF"} {
		if !strings.Contains(s, part) {
			t.Errorf("%q is missing in:\n%s", part, s)
		}
	}
}

func FuzzFields(f *testing.F) {
	f.Add("NodeName=a NodeAddr=b CPUTot=1 RealMemory=2 Comment=x y")
	f.Fuzz(func(t *testing.T, text string) {
		fields(text)
		parseConfig(text)
		if n, err := parseNode(text); err == nil && (n.name == "" || n.port < 1) {
			t.Errorf("%q: %+v", text, n)
		}
		_, _ = fromComment(job.Default("bookworm"), text)
	})
}

// What Slurm's commands print is one line, and without a Slurm it says what to do.
func TestExplain(t *testing.T) {
	const none = `scontrol: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host
scontrol: error: fetch_config: DNS SRV lookup failed
scontrol: error: _establish_config_source: failed to fetch config
scontrol: fatal: Could not establish a configuration source
`
	args, failed := []string{"scontrol", "show", "hostnames", "h1"}, errors.New("exit status 1")
	for said, want := range map[string]string{
		none: "scontrol show hostnames: there is no Slurm that it could ask (resolve_ctls_from_dns_srv: res_nsearch error: Unknown host): run this on a host of the cluster, with its slurm.conf in /etc/slurm or where SLURM_CONF says",
		"slurm_load_node error: Unable to contact slurm controller (connect failure)\n\n": "scontrol show hostnames: exit status 1: slurm_load_node error: Unable to contact slurm controller (connect failure)",
		"": "scontrol show hostnames: exit status 1",
	} {
		if got := explain(args, failed, said).Error(); got != want {
			t.Errorf("%q is explained as\n%s\nwant\n%s", said, got, want)
		}
	}
	if _, err := ask(t.Context(), "no-such-command-of-slurm", "show"); err == nil || !strings.Contains(err.Error(), "is not here: run this where slurmctld does") {
		t.Errorf("%v", err)
	}
}
