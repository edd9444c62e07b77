package node

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"ore"
	"ore/boot"
	"ore/guest"
	"ore/image"
)

// wiring is what a machine is started with: its devices but for its disk, and
// what it is told of them.
type wiring struct {
	files []string
	id    guest.Identity
}

// disk is the path of the machine's disk.
func (m *machine) disk() string { return filepath.Join(m.dir, "disk") }

// makeDisk makes the machine's folder and disk: blank, if it installs itself.
func (b *batch) makeDisk(m *machine) error {
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		return err
	}
	begun := time.Now()
	var err error
	if b.start.Install != nil {
		err = blankDisk(m.disk(), b.start.Resources.Disk)
	} else {
		err = boot.CopySparse(m.disk(), b.start.Boot.Disk)
	}
	m.started.Timings = append(m.started.Timings, Timing{Stage: "private disk", Took: time.Since(begun)})
	return err
}

// blankDisk makes a disk of zeros, none of which takes room.
func blankDisk(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// wiring returns what the job's machine is started with: over the image's layers,
// or on its own disk.
func (b *batch) wiring(p place, hosts []guest.Host) (wiring, error) {
	id, err := b.identity(p, hosts)
	if err != nil {
		return wiring{}, err
	}
	s := b.start
	own, err := maker{name: p.Name, domain: p.address.Domain, secret: s.Secret}.files(s.Image.Environment.Packages)
	if err != nil {
		return wiring{}, err
	}
	id.Own = append(own, s.Own...)
	layers := s.Image.Layers
	if s.Install == nil {
		for _, c := range s.Image.Capabilities {
			id.Capabilities = append(id.Capabilities, guest.Capability{Path: "/" + c.Path, Value: c.Value})
		}
	} else if layers, err = b.onDisk(p, &id); err != nil {
		return wiring{}, err
	}
	w := wiring{id: id}
	if err := w.add(b, layers); err != nil {
		return w, err
	}
	for _, in := range s.Inputs {
		w.id.Mounts = append(w.id.Mounts, guest.Mount{Path: in.Path, File: in.File})
		if err := w.blob(b, in.Digest); err != nil {
			return w, err
		}
	}
	return w, nil
}

// add adds layers, and the kernel's modules after them.
func (w *wiring) add(b *batch, layers []image.Layer) error {
	w.id.Layers = len(layers)
	for _, l := range layers {
		if err := w.blob(b, l.Digest); err != nil {
			return err
		}
	}
	if m := b.start.Boot.Modules; m != "" {
		w.id.Modules = true
		w.files = append(w.files, m)
	}
	return nil
}

// blob adds a blob of the store as a device, or one that is still coming.
func (w *wiring) blob(b *batch, d ore.Digest) error {
	if path := b.start.Lazy[d]; path != "" {
		w.files = append(w.files, path)
		return nil
	}
	f, err := b.node.config.Store.Path(d)
	if err == nil {
		w.files = append(w.files, f)
	}
	return err
}

// identity is what every start of a machine is told.
func (b *batch) identity(p place, hosts []guest.Host) (guest.Identity, error) {
	var secret [16 + 64]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return guest.Identity{}, fmt.Errorf("make token: %w", err)
	}
	s, a := b.start, p.address
	return guest.Identity{
		Job: s.Job, Name: p.Name, Rank: p.Rank, Size: s.Size, Token: hex.EncodeToString(secret[:16]),
		Hosts: hosts, CPUs: s.Resources.CPUs, Seed: secret[16:],
		Network: &guest.Network{
			MAC: a.MAC.String(), Address: netip.PrefixFrom(a.IP, a.Prefix.Bits()).String(),
			Gateway: a.Gateway.String(), DNS: []string{a.DNS.String()}, Search: a.Domain, MTU: a.MTU,
		},
	}, nil
}
