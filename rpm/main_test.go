package rpm

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"ore"
	"ore/deb"
	"ore/image"
	"ore/install"
	"ore/install/sandbox"
	"ore/rpm/tools"
)

// Words that make this test's executable the worker of a maker, or of a builder.
const (
	workerWord  = "rpm-worker"
	builderWord = "install-worker"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	work := map[string]func(context.Context, io.Reader, io.Writer) error{workerWord: Worker, builderWord: install.Worker}
	if len(os.Args) > 1 && work[os.Args[1]] != nil {
		if err := work[os.Args[1]](context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// toolArchive opens the archive that dnf comes from, from ORE_MIRROR or the
// host's apt configuration. What it fetches all tests of one user share.
func toolArchive(t testing.TB) func(context.Context) (*deb.Archive, error) {
	return func(ctx context.Context) (*deb.Archive, error) {
		cache := os.Getenv("ORE_TEST_CACHE")
		if cache == "" {
			cache = filepath.Join("/var/tmp", "ore-test-"+strconv.Itoa(os.Getuid()))
		}
		a, err := deb.Open(ctx, deb.Config{
			Dir: cache, Base: ore.Base{Distribution: "debian", Suite: tools.Suite}, Mirror: os.Getenv("ORE_MIRROR"),
		})
		if err == nil {
			t.Cleanup(func() { a.Close() })
		}
		return a, err
	}
}

// maker returns a maker in the folder dir, with a store of its own.
func maker(t testing.TB, dir string) *Maker {
	t.Helper()
	store, err := image.OpenStore(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	return &Maker{
		Dir: filepath.Join(dir, "rpm"), Store: store, Tier: sandbox.Root, Args: []string{workerWord}, Tools: toolArchive(t),
	}
}
