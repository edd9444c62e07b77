package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ore/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is an agent whose supervisors are servers in this process, and its
// authority.
type bench struct {
	agent     *Agent
	authority *Authority
	dir       string
	running   atomic.Int32 // supervisors
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir()}
	var err error
	if b.authority, err = NewAuthority(); err != nil {
		t.Fatal(err)
	}
	return b.begin(t, change)
}

// begin starts an agent in the bench's folder.
func (b *bench) begin(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	keys, err := b.authority.Agent("host", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Name: "host", Keys: keys, Listener: listen(t), Chain: listen(t), Dir: b.dir, Quota: 1 << 20, Supervise: b.supervise}
	if change != nil {
		change(&c)
	}
	if b.agent, err = Start(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	a := b.agent
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if n := b.running.Load(); n != 0 {
			t.Errorf("%d supervisors outlive their agent", n)
		}
		if _, err := os.Stat(a.life.dir); err == nil {
			t.Errorf("left behind: %s", a.life.dir)
		}
	})
	return b
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// supervise makes a supervisor that answers who has machines.
func (b *bench) supervise(_ context.Context, id, folder, _ string) (Supervisor, error) {
	if id == "refused" {
		return Supervisor{}, errors.New("no room")
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return Supervisor{}, err
	}
	socket := filepath.Join(folder, "node")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return Supervisor{}, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/machines", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode([]node.Started{{Machine: node.Machine{Name: "m0"}}})
	})
	mux.HandleFunc("GET /v1/wire", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	s := &http.Server{Handler: mux}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	b.running.Add(1)
	return Supervisor{Socket: socket, Release: func(context.Context) error {
		err := s.Close()
		<-served
		b.running.Add(-1)
		return errors.Join(err, os.RemoveAll(folder))
	}}, nil
}

func (b *bench) target() Target { return Target{Name: "host", Addr: b.agent.Ready().Addr} }

// client connects somebody new.
func (b *bench) client(t *testing.T) *Client {
	t.Helper()
	keys, err := b.authority.Client("someone")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(t.Context(), b.target(), keys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (b *bench) job(t *testing.T, c *Client, id string) *Job {
	t.Helper()
	j, err := c.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	return j
}

func TestStrangersGetNothing(t *testing.T) {
	b := newBench(t, nil)
	other, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := other.Client("stranger")
	if err != nil {
		t.Fatal(err)
	}
	own, err := b.authority.Client("someone")
	if err != nil {
		t.Fatal(err)
	}
	mixed := stranger
	mixed.CA = own.CA // trusts the agent, and is not trusted by it
	for name, k := range map[string]Keys{"of another authority": stranger, "that trusts the agent": mixed} {
		if c, err := Dial(t.Context(), b.target(), k); err == nil {
			c.Close()
			t.Errorf("a client %s was served", name)
		}
	}
	bare := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer bare.CloseIdleConnections()
	for _, path := range []string{"/v1/host", "/v1/jobs/a/node/v1/machines"} {
		if resp, err := bare.Get("https://" + b.target().Addr + path); err == nil {
			resp.Body.Close()
			t.Errorf("who has no certificate got %s: %s", path, resp.Status)
		}
	}
	if resp, err := http.Get("http://" + b.target().Addr + "/v1/host"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("served without TLS")
		}
	}
	http.DefaultClient.CloseIdleConnections()
	old, err := tls.Dial("tcp", b.target().Addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		old.Close()
		t.Error("TLS 1.2 was spoken")
	}
	// An agent that is not the one that was meant is not talked to.
	if c, err := Dial(t.Context(), Target{Name: "another", Addr: b.target().Addr}, own); err == nil {
		c.Close()
		t.Error("an agent of another name was taken")
	}
}

func TestJobsBelongToWhoMadeThem(t *testing.T) {
	b := newBench(t, nil)
	alice, bob := b.client(t), b.client(t)
	j := b.job(t, alice, "job")
	again := b.job(t, alice, "job")
	if all, err := again.Machines(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("its owner sees %v, %v", all, err)
	}
	if n := b.running.Load(); n != 1 {
		t.Errorf("asked for twice, a job has %d supervisors", n)
	}
	if _, err := bob.Job(t.Context(), "job"); err == nil {
		t.Error("somebody else got the job")
	}
	theirs := &Job{client: bob, id: "job", Client: node.NewClientOver(bob.http, base+"/v1/jobs/job"+nodePart)}
	if all, err := theirs.Machines(t.Context()); err == nil {
		t.Errorf("somebody else sees its machines: %v", all)
	}
	if err := bob.call(t.Context(), http.MethodDelete, "/v1/jobs/job", nil, nil); !errors.Is(err, ErrGone) {
		t.Errorf("somebody else ends it: %v", err)
	}
	if _, err := theirs.Want(t.Context(), nil); !errors.Is(err, ErrGone) {
		t.Errorf("somebody else holds blobs for it: %v", err)
	}
	if err := j.End(t.Context()); err != nil || b.running.Load() != 0 {
		t.Errorf("its owner ends it: %v, %d supervisors left", err, b.running.Load())
	}
	if err := j.End(t.Context()); err != nil {
		t.Errorf("ended twice: %v", err)
	}
	for _, id := range []string{"refused", "../up", "a/b", "", strings.Repeat("x", 64)} {
		if _, err := alice.Job(t.Context(), id); err == nil {
			t.Errorf("job %q was made", id)
		}
	}
	if f, err := alice.Host(t.Context()); err != nil || len(f.Jobs) != 0 || f.Cores < 1 || f.Memory < 1 || f.Free < 1 {
		t.Errorf("the host says %+v, %v", f, err)
	}
}

// Agents reach the commands of jobs whose owner named them, and nothing else.
func TestPeers(t *testing.T) {
	b := newBench(t, nil)
	j := b.job(t, b.client(t), "job")
	keys, err := b.authority.Agent("other")
	if err != nil {
		t.Fatal(err)
	}
	other, err := Dial(t.Context(), b.target(), keys)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	way := node.NewClientOver(other.http, base+"/v1/jobs/job"+nodePart)
	defer way.Close()
	wire := func() error { return other.call(t.Context(), http.MethodGet, "/v1/jobs/job/node/v1/wire", nil, nil) }
	if err := wire(); !errors.Is(err, ErrGone) {
		t.Errorf("an agent that is no peer: %v", err)
	}
	if err := j.Meet(t.Context(), Peers{"m1": {Addr: "127.0.0.1:1", Name: "other"}}); err != nil {
		t.Fatal(err)
	}
	if err := wire(); err == nil || !strings.Contains(err.Error(), "418") {
		t.Errorf("a peer asks for the wire: %v", err)
	}
	if all, err := way.Machines(t.Context()); err == nil {
		t.Errorf("a peer lists machines: %v", all)
	}
	if _, err := other.Job(t.Context(), "own"); err == nil {
		t.Error("an agent made a job")
	}
}

func TestJobsEndWithTheirOwner(t *testing.T) {
	b := newBench(t, func(c *Config) { c.LeaseTime = 300 * time.Millisecond })
	c := b.client(t)
	j := b.job(t, c, "job")
	for b.running.Load() != 0 { // the test's deadline ends this if nobody does
		select {
		case <-t.Context().Done():
			t.Fatal("the job of a client that is silent goes on")
		case <-b.agent.Done():
			t.Fatal("an agent without a lease has ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if _, err := j.Want(t.Context(), nil); !errors.Is(err, ErrGone) {
		t.Errorf("the job afterwards: %v", err)
	}
	if gone, err := c.Renew(t.Context()); err != nil || !slices.Equal(gone, []string{"job"}) {
		t.Errorf("its owner is told that %v is gone, %v", gone, err)
	}
}

// While an agent did not run it has heard nobody, and nobody's lease lapses by that, nor
// lasts longer than from the last sign.
func TestLeasesOfWhoWasNotHeard(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		summary    string
		look, sign time.Duration // before now: the agent's last look, and the owner's last sign
		silent     time.Duration // that follow, with a look each second
		over       bool
	}{
		{"a sign lately", lookEvery, LeaseTime / 2, 0, false},
		{"no sign", lookEvery, LeaseTime + lookEvery, 0, true},
		{"no look, and no sign since", 2 * LeaseTime, 2*LeaseTime + lookEvery, 0, false},
		{"no look, and no sign long before", 2 * LeaseTime, 3*LeaseTime + 3*lookEvery, 0, true},
		{"no look, a sign just before this one, and then some", 10 * LeaseTime, 0, LeaseTime - lookEvery, false},
		{"no look, a sign just before this one, and then none", 10 * LeaseTime, 0, LeaseTime + 2*lookEvery, true},
	} {
		a := &Agent{config: Config{Lease: true, LeaseTime: LeaseTime}, called: now.Add(-c.sign), heard: true, jobs: map[string]*job{"j": {renewed: now.Add(-c.sign)}}}
		jobs, idle := a.lapsed(now.Add(-c.look), now)
		for passed := lookEvery; passed <= c.silent; passed += lookEvery {
			more, over := a.lapsed(now.Add(passed-lookEvery), now.Add(passed))
			jobs, idle = append(jobs, more...), idle || over
		}
		if idle != c.over || len(jobs) == 1 != c.over {
			t.Errorf("%s: %d jobs lapse, the agent itself: %v", c.summary, len(jobs), idle)
		}
	}
}

// An agent that nobody has called yet waits longer, also where it did not run meanwhile.
func TestLeaseBeforeTheFirstCall(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		begun, look time.Duration // before now
		over        bool
	}{
		{LeaseTime + firstCall - lookEvery, lookEvery, false},
		{LeaseTime + firstCall + lookEvery, lookEvery, true},
		{10 * firstCall, 10*firstCall - lookEvery, false},
	} {
		a := &Agent{config: Config{Lease: true, LeaseTime: LeaseTime}, called: now.Add(-c.begun)}
		if _, idle := a.lapsed(now.Add(-c.look), now); idle != c.over {
			t.Errorf("begun %v and looked %v before: it ends: %v", c.begun, c.look, idle)
		}
	}
}

func TestAgentEndsWithItsLease(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Lease, c.LeaseTime = true, 100*time.Millisecond })
	c := b.client(t) // it was called, and then not again
	c.Close()
	begun := time.Now()
	<-b.agent.Done()
	if took := time.Since(begun); took > firstCall/2 {
		t.Errorf("it ended %v after the last call, as if there had been none", took)
	}
}
