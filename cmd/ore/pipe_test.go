package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"ore"
)

// TestReaderThatEndsDoesNotEndTheJob reads the first line of a job's output and
// no more, as head(1) does: the job goes on, and its results come home.
func TestReaderThatEndsDoesNotEndTheJob(t *testing.T) {
	for _, both := range []bool{false, true} {
		p := someone(t)
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		results := p.results(t)
		// The job waits for a line of its input, so that it ends after its reader did.
		cmd := p.command(ctx, "run", "--results", results, "-o", "r.txt", "--", "sh", "-c",
			"echo first; read line; for i in 1 2 3 4 5 6; do echo $i; echo $i >&2; done; echo end >r.txt")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = write, &said
		if both {
			cmd.Stderr = write
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		write.Close()
		readUntil(t, out, "first\n")
		out.Close()
		if _, err := io.WriteString(in, "go on\n"); err != nil {
			t.Fatal(err)
		}
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("with both streams %v: %v: %s", both, err, said.String())
		}
		cancel()
		if r := result(t, results); r.Kind != ore.Finished || r.ExitCode != 0 {
			t.Errorf("with both streams %v: result %+v", both, r)
		}
		if got := read(t, only(t, results), "0", "r.txt"); got != "end\n" {
			t.Errorf("with both streams %v: r.txt is %q", both, got)
		}
	}
}

// readUntil reads from r until what it gave ends with want.
func readUntil(t *testing.T, r io.Reader, want string) {
	t.Helper()
	var got strings.Builder
	b := make([]byte, 1)
	for !strings.HasSuffix(got.String(), want) {
		if _, err := r.Read(b); err != nil {
			t.Fatalf("read %q, then %v, before %q", got.String(), err, want)
		}
		got.Write(b)
	}
}

// TestResultIsToldThoughItCannotBeKept has the folder of results go while the
// job runs: what the job ended with is told all the same.
func TestResultIsToldThoughItCannotBeKept(t *testing.T) {
	p := someone(t)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	results := p.results(t)
	cmd := p.command(ctx, "run", "--json", "--results", results, "--", "sh", "-c", "echo begun; read line; exit 7")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := blockResult(ctx, results); err != nil {
		t.Error(err)
	}
	in.Close()
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("%v, not the job's exit code: %s", err, said.String())
	}
	var r ore.Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.Kind != ore.Finished || r.ExitCode != 7 {
		t.Errorf("told %q: %v", out.String(), err)
	}
	if want := "not all of it is in "; !strings.Contains(said.String(), want) {
		t.Errorf("does not say %q: %s", want, said.String())
	}
}

// blockResult waits for the folder of the one job and puts a folder in the
// place of its result.json.
func blockResult(ctx context.Context, results string) error {
	for ctx.Err() == nil {
		list, err := os.ReadDir(results)
		if err != nil {
			return err
		}
		if len(list) == 1 {
			return os.MkdirAll(filepath.Join(results, list[0].Name(), "result.json", "in the way"), 0o755)
		}
		runtime.Gosched()
	}
	return ctx.Err()
}
