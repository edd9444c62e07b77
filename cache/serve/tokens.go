package serve

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"ore/cache/serve/whole"
	"ore/cache/serve/wire"
)

// Identity is who a client is and what it may do.
type Identity struct {
	Name      string
	Namespace string
	Write     bool
}

// Token is what is kept of a token: never the token itself.
type Token struct {
	Identity
	Hash string // SHA-256 of the token, in hex
	Made time.Time
}

// tokenPrefix lets people and scanners see what a string is.
const tokenPrefix = "ore_"

// maxName bounds names of clients and namespaces, which become folders.
const maxName = 64

// ErrIdentity is returned for names that cannot be.
var ErrIdentity = errors.New("a name has 1 to 64 of the letters a-z, digits and . _ -, and begins with a letter or a digit")

func checkName(s string) error {
	if s == "" || len(s) > maxName || strings.ContainsAny(s[:1], "._-") {
		return fmt.Errorf("name %q: %w", s, ErrIdentity)
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("name %q: %w", s, ErrIdentity)
		}
	}
	return nil
}

func (i Identity) check() error { return errors.Join(checkName(i.Name), checkName(i.Namespace)) }

func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Tokens is the file of tokens of one server's folder. Changing it needs no
// running server; one that runs takes the change up with the next request.
type Tokens struct {
	path string

	mu    sync.Mutex
	seen  os.FileInfo         // guarded by mu; of the file that is known
	known map[string]Identity // guarded by mu; by hash
}

// OpenTokens returns the tokens of the cache folder dir. file names another
// place for them; "" means the folder's own.
func OpenTokens(dir, file string) (*Tokens, error) {
	if file != "" {
		return &Tokens{path: file}, nil
	}
	if err := os.MkdirAll(filepath.Join(dir, "serve"), 0o700); err != nil {
		return nil, fmt.Errorf("open tokens: %w", err)
	}
	return &Tokens{path: filepath.Join(dir, "serve", "tokens.json")}, nil
}

// List returns the tokens, sorted by name.
func (t *Tokens) List() ([]Token, error) {
	b, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	var all []Token
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("read tokens %s: %w: remove the file and make the tokens again", t.path, err)
	}
	return all, nil
}

// Add makes a token for i, whose name must be new, and returns it: the only
// time that it can be seen.
func (t *Tokens) Add(i Identity) (string, error) {
	if err := i.check(); err != nil {
		return "", fmt.Errorf("add token: %w", err)
	}
	all, err := t.List()
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(all, func(k Token) bool { return k.Name == i.Name }) {
		return "", fmt.Errorf("add token %s: there is one of this name: remove it first (ore cache token rm %s)", i.Name, i.Name)
	}
	var raw [24]byte
	rand.Read(raw[:]) // never fails (crypto/rand)
	token := tokenPrefix + hex.EncodeToString(raw[:])
	all = append(all, Token{Identity: i, Hash: hashToken(token), Made: time.Now().UTC().Truncate(time.Second)})
	return token, t.write(all)
}

// Remove ends the token called name.
func (t *Tokens) Remove(name string) error {
	all, err := t.List()
	if err != nil {
		return err
	}
	n := len(all)
	all = slices.DeleteFunc(all, func(k Token) bool { return k.Name == name })
	if len(all) == n {
		return fmt.Errorf("remove token %s: there is none: see 'ore cache token ls'", name)
	}
	return t.write(all)
}

func (t *Tokens) write(all []Token) error {
	slices.SortFunc(all, func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
	b, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	return whole.Write(t.path, append(b, '\n'), 0o600)
}

// find returns whose token it is.
func (t *Tokens) find(token string) (Identity, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, false, nil
	}
	if err != nil {
		return Identity{}, false, err
	}
	if t.seen == nil || !os.SameFile(info, t.seen) || info.ModTime() != t.seen.ModTime() {
		all, err := t.List()
		if err != nil {
			return Identity{}, false, err
		}
		t.known, t.seen = map[string]Identity{}, info
		for _, k := range all {
			if k.check() == nil {
				t.known[k.Hash] = k.Identity
			}
		}
	}
	i, ok := t.known[hashToken(token)]
	return i, ok, nil
}

// mayRead says whether the client may see the namespace.
func (i Identity) mayRead(namespace string) bool {
	return namespace == i.Namespace || namespace == wire.Shared
}
