package caching_test

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/table"

	"ore/cmd/ore/caching"
)

// run gives one command line to the command cache.
func run(t *testing.T, ctx context.Context, out io.Writer, args ...string) error {
	t.Helper()
	json := false
	c := caching.Command(&caching.Shell{
		Out: out, JSON: &json, Usage: func(err error) error { return err },
		Rows: func(header ...any) table.Writer {
			w := table.NewWriter()
			w.SetOutputMirror(out)
			w.AppendHeader(table.Row(header))
			return w
		},
	})
	c.SetArgs(args)
	c.SetOut(out)
	c.SetErr(io.Discard)
	return c.ExecuteContext(ctx)
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(t, t.Context(), &out, args...); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return strings.TrimSpace(out.String())
}

// line gives the first line that a server says.
type line chan string

func (l line) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}

func TestServeTokensAndCertificates(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("ORE_HOME", t.TempDir())
	token := must(t, "token", "add", "alice", "--namespace", "lab", "--write", "--dir", dir)
	if list := must(t, "token", "ls", "--dir", dir); !strings.Contains(list, "alice") || !strings.Contains(list, "read, write") || strings.Contains(list, token) {
		t.Errorf("tokens:\n%s", list)
	}
	pem := filepath.Join(t.TempDir(), "bob")
	must(t, "cert", "bob", "--dir", dir, "--out", pem)

	ctx, stop := context.WithCancel(t.Context())
	said := make(line, 1)
	ended := make(chan error, 1)
	go func() { ended <- run(t, ctx, said, "serve", "--dir", dir, "--listen", "127.0.0.1:0", "--quota", "1G") }()
	var url string
	select {
	case s := <-said:
		_, url, _ = strings.Cut(strings.TrimSpace(s), " on ")
	case err := <-ended:
		t.Fatalf("the server ended: %v", err)
	}
	t.Setenv("ORE_CACHE_TOKEN", token)
	if s := must(t, "status", "--cache", url); !strings.Contains(s, "namespace lab: 0 images") {
		t.Errorf("by token:\n%s", s)
	}
	if s := must(t, "status", "--cache", url, "--cert", pem+".pem", "--key", pem+"-key.pem"); !strings.Contains(s, "namespace bob") {
		t.Errorf("by certificate:\n%s", s)
	}
	if err := run(t, t.Context(), io.Discard, "serve", "--dir", dir, "--listen", "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("a second server: %v", err)
	}
	bare, _, _ := strings.Cut(url, "#")
	if err := run(t, t.Context(), io.Discard, "ls", "--cache", bare); err == nil || !strings.Contains(err.Error(), "#sha256:FINGERPRINT") || strings.Contains(err.Error(), "v1/") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	must(t, "revoke", "bob", "--dir", dir)
	if err := run(t, t.Context(), io.Discard, "status", "--cache", url, "--cert", pem+".pem", "--key", pem+"-key.pem"); err == nil || !strings.Contains(err.Error(), "certificate of bob was revoked") {
		t.Errorf("a certificate that was revoked: %v", err)
	}
	if s := must(t, "status", "--cache", url); !strings.Contains(s, "namespace lab: 0 images") {
		t.Errorf("by token, after another's certificate was revoked:\n%s", s)
	}
	must(t, "token", "rm", "alice", "--dir", dir)
	if err := run(t, t.Context(), io.Discard, "ls", "--cache", url); err == nil || !strings.Contains(err.Error(), "token is not known") {
		t.Errorf("a token that was removed: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the server did not end well: %v", err)
	}
}

func TestWordsThatMakeNoSense(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("ORE_HOME", t.TempDir())
	t.Setenv("ORE_CACHE", "")
	for _, c := range []struct{ args, says string }{
		{"token add ../x --dir " + dir, "name"},
		{"token add x --namespace A/b --dir " + dir, "name"},
		{"token rm nobody --dir " + dir, "there is none"},
		{"revoke ../x --dir " + dir, "name"},
		{"serve --dir " + dir + " --quota much", "--quota"},
		{"serve --dir " + dir + " --tls-cert x", "go together"},
		{"serve --dir " + dir + " --listen 127.0.0.1:99999", "--listen"},
		{"ls", "ORE_CACHE"},
		{"ls --cache http://127.0.0.1:1", "https://"},
		{"ls --cache https://127.0.0.1:1#sha256:zz", "fingerprint"},
	} {
		if err := run(t, t.Context(), io.Discard, strings.Fields(c.args)...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, without %q", c.args, err, c.says)
		}
	}
}

// What a registry cannot do is said, with what it can.
func TestRegistriesHaveNoList(t *testing.T) {
	t.Setenv("ORE_HOME", t.TempDir())
	for _, args := range [][]string{{"ls"}, {"status"}, {"rm", strings.Repeat("a", 64)}} {
		err := run(t, t.Context(), io.Discard, append(args, "--cache", "oci+http://127.0.0.1:5000/group/images")...)
		if err == nil || !strings.Contains(err.Error(), "'ore cache push' and 'ore cache pull' with a whole key work there") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// Who reads the help learns how an image becomes one that all see.
func TestHelpNamesTheSharedNamespace(t *testing.T) {
	for _, args := range [][]string{{"serve", "--help"}, {"token", "--help"}} {
		var out bytes.Buffer
		if err := run(t, t.Context(), &out, args...); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "--namespace shared") {
			t.Errorf("%v says nothing of it:\n%s", args, out.String())
		}
	}
}
