// Package rest speaks to slurmrestd (slurmrestd(8)), Slurm's service over HTTP, for
// where Slurm's commands are not at hand: it submits a batch job, asks for its
// state, comments on it, and cancels it.
//
// The service is reached by a Unix socket, where it knows the caller by the socket
// (rest_auth/local), or by TCP with a token (rest_auth/jwt), which scontrol token
// prints. What it is asked is of version 0.0.38 of its interface, which slurmrestd
// 22.05, Debian 12's, has as its newest, and 23.02 and 23.11 still have.
package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// version is that of the interface.
const version = "v0.0.38"

const (
	// callTime bounds one call: the service asks slurmctld, which answers in
	// milliseconds unless it is away.
	callTime = 15 * time.Second
	// maxAnswer bounds an answer: the records of some thousand hosts, of a kilobyte
	// each.
	maxAnswer = 16 << 20
)

// Client speaks to one service. Its methods may be called concurrently.
type Client struct {
	base  string
	user  string
	token string
	http  *http.Client
}

// New returns a client of the service at address: unix:/PATH, http://HOST:PORT or
// https://HOST:PORT. A token is given with the name of its user; both are "" where
// the service knows the caller by the socket.
func New(address, user, token string) (*Client, error) {
	c := &Client{base: strings.TrimSuffix(address, "/"), user: user, token: token, http: &http.Client{Timeout: callTime}}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		c.base = "http://slurmrestd"
		c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}}
		return c, nil
	}
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("slurmrestd %q: write unix:/PATH, http://HOST:PORT or https://HOST:PORT", address)
	}
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Job is what is submitted. Zero values leave it to Slurm's defaults.
type Job struct {
	Name        string
	Comment     string
	Partition   string
	Account     string
	QOS         string
	Constraint  string
	Prefer      string // a constraint that hosts had better meet
	Tasks       int
	CPUs        int   // for each task
	Memory      int64 // MiB for each CPU
	Minutes     int64 // of its time limit
	Dir         string
	Environment map[string]string
	Script      string
}

// properties is a job in the service's words.
type properties struct {
	Name        string            `json:"name,omitempty"`
	Comment     string            `json:"comment,omitempty"`
	Partition   string            `json:"partition,omitempty"`
	Account     string            `json:"account,omitempty"`
	QOS         string            `json:"qos,omitempty"`
	Constraint  string            `json:"constraints,omitempty"`
	Prefer      string            `json:"prefer,omitempty"`
	Tasks       int               `json:"tasks,omitempty"`
	CPUs        int               `json:"cpus_per_task,omitempty"`
	Memory      int64             `json:"memory_per_cpu,omitempty"`
	Minutes     int64             `json:"time_limit,omitempty"`
	Dir         string            `json:"current_working_directory,omitempty"`
	Environment map[string]string `json:"environment"`
	Output      string            `json:"standard_output"`
	Error       string            `json:"standard_error"`
	NoKill      string            `json:"no_kill"` // the job goes on without a host that fails
	Requeue     bool              `json:"requeue"`
}

// answer is what the service says to any question.
type answer struct {
	ID   int `json:"job_id"`
	Jobs []struct {
		State   string `json:"job_state"`
		Reason  string `json:"state_reason"`
		Nodes   string `json:"nodes"`
		Minutes int64  `json:"time_limit"`
		Exit    int64  `json:"exit_code"` // as wait(2) has it
	} `json:"jobs"`
	Nodes []struct {
		Features string `json:"active_features"`
	} `json:"nodes"`
	Errors []struct {
		Error       string `json:"error"`
		Description string `json:"description"`
		Number      int    `json:"errno"`
		Newer       int    `json:"error_number"`
	} `json:"errors"`
}

// State is what Slurm says of a job.
type State struct {
	State  string // as in squeue(1): RUNNING, CANCELLED ...
	Reason string
	Hosts  string // the list of hosts in Slurm's short form
	Limit  time.Duration
	Exit   int // of its script, once that has ended by itself
}

// ErrNoJob matches the answer about a job that Slurm does not know, or not any more.
var ErrNoJob = errors.New("no such job")

// noJob is what Slurm says of one (slurm_errno.h, ESLURM_INVALID_JOB_ID).
const noJob = 2017

// Submit submits a batch job and returns its number. Its output goes nowhere, and
// it is not put back into the queue when it has lost a host.
func (c *Client) Submit(ctx context.Context, j Job) (string, error) {
	if j.Environment == nil {
		j.Environment = map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin"} // the service refuses none
	}
	body := struct {
		Job    properties `json:"job"`
		Script string     `json:"script"`
	}{properties{
		Name: j.Name, Comment: j.Comment, Partition: j.Partition, Account: j.Account, QOS: j.QOS, Constraint: j.Constraint, Prefer: j.Prefer,
		Tasks: j.Tasks, CPUs: j.CPUs, Memory: j.Memory, Minutes: j.Minutes, Dir: j.Dir, Environment: j.Environment,
		Output: "/dev/null", Error: "/dev/null", NoKill: "set",
	}, j.Script}
	a, err := c.call(ctx, http.MethodPost, "/job/submit", body)
	if err == nil && a.ID <= 0 {
		err = errors.New("it named no job")
	}
	if err != nil {
		return "", fmt.Errorf("slurmrestd: submit: %w", err)
	}
	return strconv.Itoa(a.ID), nil
}

// State returns what Slurm says of a job.
func (c *Client) State(ctx context.Context, id string) (State, error) {
	a, err := c.call(ctx, http.MethodGet, "/job/"+url.PathEscape(id), nil)
	if err == nil && len(a.Jobs) != 1 {
		err = fmt.Errorf("%d jobs of that number", len(a.Jobs))
	}
	if err != nil {
		return State{}, fmt.Errorf("slurmrestd: job %s: %w", id, err)
	}
	j := a.Jobs[0]
	return State{State: j.State, Reason: j.Reason, Hosts: j.Nodes, Limit: time.Duration(j.Minutes) * time.Minute, Exit: int(j.Exit >> 8 & 0xff)}, nil
}

// Comment sets what accounting keeps of a job in words.
func (c *Client) Comment(ctx context.Context, id, text string) error {
	body := struct {
		Comment     string            `json:"comment"`
		Environment map[string]string `json:"environment"` // an update is refused without
	}{text, map[string]string{}}
	if _, err := c.call(ctx, http.MethodPost, "/job/"+url.PathEscape(id), body); err != nil {
		return fmt.Errorf("slurmrestd: comment on job %s: %w", id, err)
	}
	return nil
}

// Features returns the features that any host of the cluster has, each once.
func (c *Client) Features(ctx context.Context) ([]string, error) {
	a, err := c.call(ctx, http.MethodGet, "/nodes/", nil)
	if err != nil {
		return nil, fmt.Errorf("slurmrestd: hosts: %w", err)
	}
	var all []string
	for _, n := range a.Nodes {
		for f := range strings.SplitSeq(n.Features, ",") {
			if f != "" && !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
	}
	return all, nil
}

// Cancel cancels a job.
func (c *Client) Cancel(ctx context.Context, id string) error {
	if _, err := c.call(ctx, http.MethodDelete, "/job/"+url.PathEscape(id), nil); err != nil {
		return fmt.Errorf("slurmrestd: cancel job %s: %w", id, err)
	}
	return nil
}

// call asks for a path and reads the answer.
func (c *Client) call(ctx context.Context, method, path string, in any) (answer, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return answer{}, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/slurm/"+version+path, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if c.token != "" {
		req.Header.Set("X-SLURM-USER-NAME", c.user)
		req.Header.Set("X-SLURM-USER-TOKEN", c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("%w: see that the service runs there", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{}, err
	}
	return parse(resp.StatusCode, b)
}

// parse reads an answer.
func parse(status int, b []byte) (answer, error) {
	var a answer
	err := json.Unmarshal(b, &a)
	if err == nil && len(a.Errors) > 0 {
		e := a.Errors[0]
		err := errors.New(strings.TrimSpace(e.Description + " " + e.Error))
		if e.Number == noJob || e.Newer == noJob || strings.Contains(err.Error(), "Invalid job id") {
			err = fmt.Errorf("%w: %w", ErrNoJob, err)
		}
		return a, err
	}
	switch {
	case status == http.StatusUnauthorized:
		return a, errors.New("it does not know the caller: give a token that 'scontrol token' printed, or use its socket as the user that it runs as")
	case status != http.StatusOK:
		text := strings.TrimSpace(string(b[:min(len(b), 200)]))
		return a, fmt.Errorf("it answered %d: %s: see that it has openapi/%s", status, text, version)
	case err != nil:
		return a, fmt.Errorf("its answer is not understood: %w", err)
	}
	return a, nil
}
