package cache

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ore"
	"ore/cache/catalog"
	"ore/cache/flight"
)

// published says whether a new process would not need the database.
func published(t *testing.T, dir string) bool {
	t.Helper()
	of, err := catalog.Identity{Schema: schemaVersion, Boot: catalog.Boot()}.At(database(dir))
	if err != nil {
		t.Fatal(err)
	}
	_, err = catalog.In(dir).Read(of, func(catalog.Published) bool { return true })
	if err != nil && !errors.Is(err, catalog.ErrNone) {
		t.Fatal(err)
	}
	return err == nil
}

// A process that has just started answers without the database, as long as the
// list is what is published; and with it when it is not.
func TestCandidatesWithoutTheDatabase(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	c := open(t, dir)
	env := environment([]ore.Package{pkg(1, 0), pkg(200, 0)})
	fill(t, c, []ore.Environment{environment([]ore.Package{pkg(1, 0)})})
	if published(t, dir) {
		t.Error("published before anybody asked")
	}
	if got, err := c.Candidates(ctx, env, 3); err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v", got, err)
	}
	if !published(t, dir) {
		t.Error("not published by who asked")
	}
	fresh := open(t, dir)
	if got, err := fresh.Candidates(ctx, env, 3); err != nil || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	if n := fresh.db.Stats().OpenConnections; n != 0 {
		t.Errorf("the database was opened %d times", n)
	}
	fill(t, c, []ore.Environment{environment([]ore.Package{pkg(200, 0)})})
	if published(t, dir) {
		t.Error("another list, and the old one is published")
	}
	if got, err := fresh.Candidates(ctx, env, 3); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if n := fresh.db.Stats().OpenConnections; n == 0 {
		t.Error("the database was not opened")
	}
}

// What takes an image off the list takes back what is published, and a database in
// place of the one that it is of has it count no more.
func TestPublishedIsTakenBack(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	c := open(t, dir)
	m := sample(c, 1)
	ask := func() int {
		got, err := c.Candidates(ctx, m.Environment, 3)
		if err != nil {
			t.Fatal(err)
		}
		return len(got)
	}
	if _, err := c.Register(ctx, m, time.Second); err != nil {
		t.Fatal(err)
	}
	if n := ask(); n != 1 || !published(t, dir) {
		t.Fatalf("%d candidates, published: %v", n, published(t, dir))
	}
	if _, err := c.Forget(ctx, m.Key); err != nil {
		t.Fatal(err)
	}
	if published(t, dir) {
		t.Error("an image is gone, and is published")
	}
	if n := ask(); n != 0 || !published(t, dir) {
		t.Errorf("%d candidates, published: %v", n, published(t, dir))
	}
	b, err := os.ReadFile(database(dir))
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.db")
	if err := os.WriteFile(other, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, database(dir)); err != nil {
		t.Fatal(err)
	}
	if published(t, dir) {
		t.Error("it is published of another database")
	}
}

// Who writes the list waits for who publishes the old one, and what is published
// afterwards is the new one or none.
func TestPublishingIsNotOvertaken(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	c := open(t, dir)
	gate, err := flight.Try(c.gate())
	if err != nil {
		t.Fatal(err)
	}
	done, inside := make(chan error, 1), make(chan struct{})
	go func() {
		done <- c.write(ctx, func(tx *sql.Tx) error {
			defer close(inside)
			_, err := tx.ExecContext(ctx, `UPDATE state SET generation = generation + 1`)
			return err
		})
	}()
	<-inside
	other := open(t, dir) // publishes nothing: somebody is at it
	if _, err := other.Candidates(ctx, ore.Environment{}, 1); err != nil || published(t, dir) {
		t.Errorf("published while the list is about to change: %v", err)
	}
	select {
	case err := <-done:
		t.Fatal("the list was changed while the old one was being published: ", err)
	default:
	}
	if err := gate.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestPublishedIsTrueAfterKills has processes that change the list killed, and
// compares what a new one says by what is published with what the database says.
func TestPublishedIsTrueAfterKills(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	seen := 0
	for round := range 6 {
		cmd := child("churn", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		after := time.NewTimer(time.Duration(rand.IntN(30_000)) * time.Microsecond)
		<-after.C
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it says that it was killed
		byFile, byList := open(t, dir), open(t, dir)
		before := published(t, dir)
		for n := range 30 {
			env := sample(byList, n).Environment
			if before {
				seen++
			}
			got, err := byFile.Candidates(ctx, env, 4)
			if err != nil {
				t.Fatal(err)
			}
			byList.mu.Lock()
			byList.known = known{generation: -1}
			err = byList.read(ctx, true)
			k := byList.known
			byList.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			want, err := k.catalog.Candidates(catalog.NewAsk(env), byList.config.Rank, 4)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("round %d, published before: %v: %v instead of %v", round, before, got, want)
			}
		}
	}
	t.Logf("%d answers by what a killed process had published", seen)
}
