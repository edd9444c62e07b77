package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"ore"
	"ore/image"
)

// roleVariable makes this program another process of a test: it plays the role
// of that name on the folder in its argument.
const roleVariable = "ORE_TEST_ROLE"

func TestMain(m *testing.M) {
	roles := map[string]func(dir string){"cold": cold, "churn": churn, "builder": builder, "clients": clients, "reserver": reserver}
	if role := os.Getenv(roleVariable); role != "" {
		roles[role](os.Args[1])
		return
	}
	os.Exit(m.Run())
}

// child returns the command that plays role on dir.
func child(role, dir string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return v
}

// sample puts an image into c that shares its lowest layer with others.
func sample(c *Cache, n int) image.Manifest {
	ctx := context.Background()
	env := environment([]ore.Package{pkg(1, 0), pkg(100+n, 0), pkg(200+n%7, 0)}, strconv.Itoa(n))
	m := image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf([]byte(strconv.Itoa(n)))}
	for _, l := range []string{"base", fmt.Sprint("family", n%5), fmt.Sprint("own", n)} {
		text := make([]byte, 64<<10)
		copy(text, l)
		d := must(c.PutBytes(ctx, text))
		m.Layers = append(m.Layers, image.Layer{Digest: d, Size: int64(len(text)), Compression: "zstd"})
	}
	return m
}

// churn registers, folds, evicts and reserves until it is killed. A line says
// that it is at work.
func churn(dir string) {
	ctx := context.Background()
	c := must(Config{Quota: 1 << 20}.Open(ctx, dir))
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 3))
	for i := 0; ; i++ {
		m := sample(c, r.IntN(30))
		switch r.IntN(4) {
		case 0: // folded: the same key, one layer of its own
			text := make([]byte, 100<<10)
			copy(text, "folded"+string(m.Key))
			d := must(c.PutBytes(ctx, text))
			m.Layers = []image.Layer{{Digest: d, Size: int64(len(text)), Compression: "zstd"}}
		case 1:
			must(c.Prune(ctx, 700<<10))
			m = sample(c, r.IntN(30))
		}
		space := must(c.Reserve(ctx, 200<<10, "a test"))
		// Its layers may have been evicted since they were put: that is told, and
		// costs the registration alone.
		_, _ = c.Register(ctx, m, time.Duration(r.IntN(9)+1)*time.Second)
		space.Release()
		must(0, c.Note(ctx, Request{Key: m.Key, Wish: WishOf(m.Environment), Kind: "clean"}))
		if i == 3 {
			fmt.Println("at work")
		}
	}
}

// builder builds an image that others wait for, tells how far it is, and never ends.
func builder(dir string) {
	c := must(Open(context.Background(), dir))
	must(c.Share(context.Background(), sample(c, 1).Key, nil, func(ctx context.Context, tell ore.Watcher) (image.Manifest, error) {
		tell(ore.Event{Stage: "unpack", Text: "from the other process", Done: 1, Total: 2})
		fmt.Println("at work")
		select {}
	}))
}

// reserver reserves a MiB and never gives it back.
func reserver(dir string) {
	must(Open(context.Background(), dir)).Reserve(context.Background(), 1<<20, "a process that dies")
	fmt.Println("at work")
	select {}
}

// wishes is how many environments the clients ask for; the even ones are known.
const wishes = 20

// clients is fifty of two hundred clients, who ask at once.
func clients(dir string) {
	ctx := context.Background()
	c := must(Open(ctx, dir))
	defer c.Close()
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() { request(ctx, c, i%wishes) })
	}
	all.Wait()
}

// request asks for one environment as a client does.
func request(ctx context.Context, c *Cache, n int) {
	env := environment([]ore.Package{pkg(1, 0), pkg(100+n, 0), pkg(200+n%7, 0)}, strconv.Itoa(n))
	m := must(c.Share(ctx, env.Key(), nil, func(ctx context.Context, _ ore.Watcher) (image.Manifest, error) {
		f := must(os.CreateTemp(filepath.Join(c.dir, "built"), fmt.Sprint(n, "-*")))
		f.Close()
		m := sample(c, n)
		_, err := c.Register(ctx, m, time.Second)
		return m, err
	}))
	release := must(c.Hold(ctx, m))
	defer release()
	for _, l := range m.Layers {
		if b := must(os.ReadFile(must(c.Path(l.Digest)))); ore.DigestOf(b) != l.Digest {
			must(0, fmt.Errorf("torn read of %s", l.Digest))
		}
	}
	must(0, c.Touch(ctx, m.Key))
}
