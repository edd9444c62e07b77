package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ore/node/agent"
	"ore/site/ledger"
)

// Keyring is a user's own authority, for agents that outlive a run.
type Keyring struct {
	dir string
}

// OpenKeyring returns the keyring in a site's folder of state.
func OpenKeyring(state string) Keyring { return Keyring{filepath.Join(state, "fleet")} }

func (k Keyring) authorityPath() string { return filepath.Join(k.dir, "authority.pem") }

// Issue gives the keys of the agent that is called by one of names. The first
// call makes the authority.
func (k Keyring) Issue(names ...string) (agent.Keys, error) {
	a, err := k.authority()
	if errors.Is(err, fs.ErrNotExist) {
		a, err = k.make()
	}
	if err != nil {
		return agent.Keys{}, err
	}
	return a.Agent(names...)
}

// Client gives keys for this user, which the agents accept that Issue made keys
// for.
func (k Keyring) Client() (agent.Keys, error) {
	a, err := k.authority()
	if errors.Is(err, fs.ErrNotExist) {
		return agent.Keys{}, errors.New("keys of hosts: there are none: make some with 'ore hosts issue HOST' and give them to 'ore node --trust' there, or name others with --host-keys")
	}
	if err != nil {
		return agent.Keys{}, err
	}
	return a.Client("ore")
}

func (k Keyring) authority() (*agent.Authority, error) {
	b, err := os.ReadFile(k.authorityPath())
	if err != nil {
		return nil, fmt.Errorf("keys of hosts: %w", err)
	}
	return agent.DecodeAuthority(b)
}

func (k Keyring) make() (*agent.Authority, error) {
	a, err := agent.NewAuthority()
	if err != nil {
		return nil, err
	}
	b, err := a.Encode()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return nil, fmt.Errorf("keys of hosts: %w", err)
	}
	if err := ledger.WriteWhole(k.authorityPath(), b); err != nil { // CreateTemp gives mode 0600
		return nil, fmt.Errorf("keys of hosts: %w", err)
	}
	return a, nil
}

// ReadKeys reads a file of keys.
func ReadKeys(path string) (agent.Keys, error) {
	f, err := os.Open(path)
	if err != nil {
		return agent.Keys{}, fmt.Errorf("read keys: %w", err)
	}
	defer f.Close()
	k, err := agent.ReadKeys(f)
	if err != nil {
		return k, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// Line is keys as 'ore node' reads them from its standard input.
func Line(k agent.Keys) ([]byte, error) {
	b, err := json.Marshal(k)
	return append(b, '\n'), err
}
