package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ore"
	"ore/cache/catalog"
	"ore/cache/flight"
	"ore/cache/index"
	"ore/cache/room"
	"ore/image"
)

// busyTimeout is how long a writer waits for another process's transaction.
// Transactions here write a few thousand rows at most.
const busyTimeout = 20 * time.Second

// maxConnections bounds what is read at once; SQLite itself lets only one write.
const maxConnections = 4

// Config says how a cache is used. The zero value is a cache without a quota
// that signs nothing and trusts everybody.
type Config struct {
	Quota    int64            // bytes that the layers of all images may have together; 0 for no limit but the disk
	Signer   *image.Signer    // signs what is registered; nil for nobody
	Trusted  image.Keys       // whose images are taken, beside the signer's own; nil for everybody's
	Strict   bool             // Find gives only images that a trusted key has signed
	Rank     index.Rank       // what having a package in common is worth; zero for index.DefaultRank
	Now      func() time.Time // nil for time.Now
	Capacity func(dir string) (free int64, err error)
	// Capacity says how many bytes a folder's file system has left; nil asks it.
}

// Cache is the images of one folder.
type Cache struct {
	*image.Store
	config Config
	db     *sql.DB
	dir    string
	server *os.File // the lock of OpenExclusive, nil without

	boot    string     // of the host, see catalog.Boot
	mu      sync.Mutex // guards known
	known   known
	mapping sync.WaitGroup // maps the large index ahead of questions; Close waits for it

	// writer holds a value while this process writes: SQLite lets one write at
	// a time, and its own way of waiting is to sleep and try again.
	writer chan struct{}

	flights *flight.Group
}

// Open opens the cache in dir with the zero Config, making it if need be.
func Open(ctx context.Context, dir string) (*Cache, error) { return Config{}.Open(ctx, dir) }

// Open opens the cache in dir, making it if need be, and removes what processes
// left there that died.
func (config Config) Open(ctx context.Context, dir string) (*Cache, error) {
	store, err := image.OpenStore(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	for _, d := range []string{"locks", "index", "reserved"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("open cache: %w", err)
		}
	}
	if config.Rank == (index.Rank{}) {
		config.Rank = index.DefaultRank()
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Capacity == nil {
		config.Capacity = room.Free
	}
	db := sql.OpenDB(room.Connector{File: database(dir), Busy: busyTimeout, Spare: room.In(dir)})
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	c := &Cache{
		Store: store, config: config, db: db, dir: dir, boot: catalog.Boot(), known: known{generation: -1},
		writer: make(chan struct{}, 1), flights: flight.New(filepath.Join(dir, "locks")),
	}
	err = c.begin(ctx)
	if room.In(dir).GiveUp(err) {
		err = c.begin(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open cache %s: %w", dir, c.explain(err)), db.Close())
	}
	room.In(dir).Keep()
	return c, nil
}

// begin makes the database what it should be, and removes what was left by
// processes that died: unfinished files, and blobs that were about to be deleted.
// If nothing is to be done the database is not opened: that takes longer than many
// a question.
func (c *Cache) begin(ctx context.Context) error {
	if _, err := c.Sweep(); err != nil || c.settled() {
		return err
	}
	if err := c.migrate(ctx); err != nil {
		return err
	}
	_, err := c.bury(ctx)
	return err
}

func (c *Cache) explain(err error) error { return room.Explain(err, c.database()) }

func (c *Cache) database() string { return database(c.dir) }

func database(dir string) string { return filepath.Join(dir, "images.db") }

// Close ends the use of the cache.
func (c *Cache) Close() error {
	c.mapping.Wait()
	err := c.db.Close()
	room.In(c.dir).Keep() // what was given up is free again
	if c.server != nil {
		err = errors.Join(err, c.server.Close())
	}
	return err
}

// ErrServed is returned by OpenExclusive where another server has the folder.
var ErrServed = errors.New("another server has this folder")

// OpenExclusive opens the cache in dir for the one process that serves it to
// others; a second one is refused until the first is closed or dies. Processes
// that use the folder themselves, by Open, go on doing so: all that they share
// is guarded by the database and by locks, whoever else is there. A server is
// alone only in what it does on its own account, such as folding layers and
// preparing images ahead of need.
func (config Config) OpenExclusive(ctx context.Context, dir string) (*Cache, error) {
	if err := os.MkdirAll(filepath.Join(dir, "locks"), 0o755); err != nil {
		return nil, fmt.Errorf("serve cache: %w", err)
	}
	f, err := flight.Try(filepath.Join(dir, "locks", "server"))
	if errors.Is(err, flight.ErrLocked) {
		return nil, fmt.Errorf("serve cache %s: %w: end it first, or serve another folder", dir, ErrServed)
	}
	if err != nil {
		return nil, fmt.Errorf("serve cache %s: %w", dir, err)
	}
	c, err := config.Open(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	c.server = f
	return c, nil
}

// Find returns the image of key. The error matches image.ErrMissing if there
// is none, or if one of its layers is gone: such an image is forgotten. It
// matches image.ErrUntrusted or image.ErrForged if the cache is strict and
// nobody whom it trusts has signed the image, or it was made here of layers that
// came from somebody whom it trusts no more.
func (c *Cache) Find(ctx context.Context, key ore.Key) (image.Manifest, error) {
	m, s, err := c.find(ctx, key)
	if err == nil && c.config.Strict {
		err = c.vouched(ctx, m, s)
	}
	return m, err
}

// Signature returns who signed the image of key; the zero Signature if nobody
// did.
func (c *Cache) Signature(ctx context.Context, key ore.Key) (image.Signature, error) {
	_, s, err := c.find(ctx, key)
	return s, err
}

func (c *Cache) find(ctx context.Context, key ore.Key) (image.Manifest, image.Signature, error) {
	var d string
	var s image.Signature
	err := c.db.QueryRowContext(ctx, `SELECT manifest, signer, signature FROM images WHERE key = ?`, string(key)).Scan(&d, &s.Key, &s.Sig)
	if errors.Is(err, sql.ErrNoRows) {
		return image.Manifest{}, s, fmt.Errorf("image %s: %w", key.Short(), image.ErrMissing)
	}
	if err != nil {
		return image.Manifest{}, s, fmt.Errorf("find image %s: %w", key.Short(), err)
	}
	m, err := c.complete(ore.Digest(d))
	if errors.Is(err, image.ErrMissing) || errors.Is(err, image.ErrRotten) {
		if err := c.unlist(ctx, key, ore.Digest(d)); err != nil {
			return m, s, fmt.Errorf("forget image %s: %w", key.Short(), err)
		}
		return m, s, fmt.Errorf("image %s: %w", key.Short(), image.ErrMissing)
	}
	return m, s, err
}

// Acquire is Find, and holds the image until release is called: it is neither
// evicted nor changed meanwhile, and its bytes match.
func (c *Cache) Acquire(ctx context.Context, key ore.Key) (m image.Manifest, release func(), err error) {
	if m, err = c.Find(ctx, key); err != nil {
		return m, nil, err
	}
	release, err = c.Hold(ctx, m)
	if errors.Is(err, image.ErrMissing) || errors.Is(err, image.ErrRotten) {
		// It was evicted since it was found, or it has rotted: either way there is
		// none now, nor any other with what rotted.
		err = errors.Join(fmt.Errorf("image %s: %w", key.Short(), image.ErrMissing), c.unlist(ctx, key, m.Digest()))
		for _, l := range m.Layers {
			err = errors.Join(err, c.Lost(ctx, l.Digest))
		}
		return m, nil, err
	}
	return m, release, err
}

// unlist takes an image with a part missing off the list, unless another was
// registered in its place meanwhile, and deletes what only it had.
func (c *Cache) unlist(ctx context.Context, key ore.Key, manifest ore.Digest) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		var now string
		err := tx.QueryRowContext(ctx, `SELECT manifest FROM images WHERE key = ?`, string(key)).Scan(&now)
		if errors.Is(err, sql.ErrNoRows) || err == nil && now != string(manifest) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := c.complete(manifest); err == nil {
			return nil // it is whole again: somebody has put the same layer
		}
		return drop(ctx, tx, key)
	})
	if err != nil {
		return err
	}
	_, err = c.bury(ctx)
	return err
}

// complete reads a manifest and looks whether all its layers are there whole.
func (c *Cache) complete(d ore.Digest) (image.Manifest, error) {
	m, err := c.Manifest(d)
	if err != nil {
		return m, err
	}
	return m, c.present(m)
}

func (c *Cache) present(m image.Manifest) error {
	for _, l := range m.Layers {
		p, err := c.Path(l.Digest)
		if err != nil {
			return err
		}
		if info, err := os.Stat(p); err != nil || info.Size() != l.Size {
			return fmt.Errorf("layer %s: %w", l.Digest.Short(), image.ErrRotten)
		}
	}
	return nil
}

// Register lists m, whose layers are in the store, as the image of its key, and
// as what serves its wish. took is what making it cost. It is given the roots of
// its layers, and signed if the cache has a signer; what is returned is the
// manifest as it is listed.
func (c *Cache) Register(ctx context.Context, m image.Manifest, took time.Duration) (image.Manifest, error) {
	return c.RegisterOf(ctx, m, image.Manifest{}, took)
}

// RegisterOf is Register for an image whose uppermost layer holds what is in the
// layers of another: it is trusted as long as these are.
func (c *Cache) RegisterOf(ctx context.Context, m, other image.Manifest, took time.Duration) (image.Manifest, error) {
	m, err := c.Rooted(ctx, m)
	if err == nil {
		r := row{m: m, of: other.Layers, tookMS: took.Milliseconds()}
		if c.config.Signer != nil {
			r.signature = c.config.Signer.Sign(m)
		}
		_, err = c.register(ctx, r)
	}
	if err != nil {
		return m, fmt.Errorf("register image %s: %w", m.Key.Short(), err)
	}
	return m, nil
}

// RegisterSigned is Register for an image that somebody else has made and
// signed. A signature that is not the manifest's is refused, and one by a key that
// [Cache.Check] does not trust. The zero Signature is that of nobody.
func (c *Cache) RegisterSigned(ctx context.Context, m image.Manifest, s image.Signature, took time.Duration) (ore.Digest, error) {
	err := c.Check(m, s)
	var d ore.Digest
	if err == nil {
		d, err = c.register(ctx, row{m: m, signature: s, tookMS: took.Milliseconds(), foreign: true})
	}
	if err != nil {
		return "", fmt.Errorf("register image %s: %w", m.Key.Short(), err)
	}
	return d, nil
}

func (c *Cache) register(ctx context.Context, r row) (ore.Digest, error) {
	text := r.m.Encode()
	if r.signature.Key != "" {
		if err := r.signature.Check(text); err != nil {
			return "", err
		}
	}
	d, err := c.PutBytes(ctx, text)
	if err != nil {
		return "", err
	}
	err = c.write(ctx, func(tx *sql.Tx) error {
		// Blobs are deleted only by a transaction that writes, so none goes
		// between this look and the commit.
		if _, err := c.complete(d); err != nil {
			return err
		}
		if err := c.trace(ctx, tx, r); err != nil {
			return err
		}
		r.digest, r.now = d, c.config.Now().Unix()
		return insert(ctx, tx, r)
	})
	if err != nil {
		return "", err
	}
	if _, err := c.bury(ctx); err != nil { // what had the key before may have left layers
		return "", err
	}
	return d, errors.Join(c.meet(ctx, r.m.Environment), c.reindex(ctx))
}
