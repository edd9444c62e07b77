package kit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ore"
	"ore/image"
	"ore/node"
)

// proofName is the file of a folder that says what its other files were like
// when they were laid out.
const proofName = ".proof"

// diskName is a disk's file in its folder.
const diskName = "disk"

// Layout is where kits are laid out on a host that was given their blobs.
type Layout struct {
	Store *image.Store
	Dir   string // existing; has a folder for each part that is laid out
}

// Lay makes of a kit, whose blobs the store has, what machines are started with
// here. Every part comes from a blob whose bytes match; one that was laid out
// before is laid out again if somebody wrote to it since.
func (l Layout) Lay(ctx context.Context, k Kit) (node.Boot, error) {
	b := node.Boot{Hypervisor: k.Hypervisor, Accelerator: k.Accelerator, Release: k.Release}
	for _, part := range []struct {
		to   *string
		blob ore.Digest
	}{{&b.Kernel, k.Kernel}, {&b.Initrd, k.Initrd}, {&b.Modules, k.Modules}} {
		if part.blob == "" {
			continue
		}
		path, err := l.Store.Verified(ctx, part.blob)
		if err != nil {
			return b, fmt.Errorf("lay out kit: %w", err)
		}
		*part.to = path
	}
	if k.Program == "" && k.Own == "" || k.Disk == "" {
		return b, errors.New("lay out kit: it has no program or no disk")
	}
	if err := l.program(ctx, k, &b); err != nil {
		return b, err
	}
	dir, err := l.part(ctx, k.Disk, func(blob *os.File, root *os.Root, _ string) error {
		f, err := root.Create(diskName)
		if err != nil {
			return err
		}
		return errors.Join(UnpackSparse(bufio.NewReader(blob), f), f.Close())
	})
	b.Disk = filepath.Join(dir, diskName)
	return b, err
}

// program lays the hypervisor's program out, or finds the host's own.
func (l Layout) program(ctx context.Context, k Kit, b *node.Boot) error {
	if k.Own != "" {
		path, err := exec.LookPath(k.Own)
		if err != nil || strings.Contains(k.Own, "/") {
			return fmt.Errorf("hypervisor %s: this host has no %s: install it there, or use hypervisor: uml, which needs nothing", k.Hypervisor, k.Own)
		}
		b.Program = append([]string{path}, k.Args...)
		return nil
	}
	dir, err := l.part(ctx, k.Program, func(blob *os.File, root *os.Root, dir string) error {
		_, err := Unpack(bufio.NewReader(blob), root, dir)
		return err
	})
	b.Program = append([]string{filepath.Join(dir, programName)}, k.Args...)
	b.Env = []string{libraryPath + dir}
	return err
}

// Forget removes what was laid out of a blob.
func (l Layout) Forget(d ore.Digest) error { return os.RemoveAll(l.folder(d)) }

func (l Layout) folder(d ore.Digest) string { return filepath.Join(l.Dir, d.Hex()) }

// part lays one blob out in its folder, unless that has been done and nobody
// wrote there since.
func (l Layout) part(ctx context.Context, d ore.Digest, form func(blob *os.File, root *os.Root, dir string) error) (string, error) {
	dir := l.folder(d)
	path, err := l.Store.Verified(ctx, d)
	if err != nil {
		return "", fmt.Errorf("lay out kit: %w", err)
	}
	if proven(dir) {
		return dir, nil
	}
	blob, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("lay out kit: %w", err)
	}
	defer blob.Close()
	tmp, err := os.MkdirTemp(l.Dir, ".new-*")
	if err != nil {
		return "", fmt.Errorf("lay out kit: %w", image.Full(err))
	}
	defer os.RemoveAll(tmp)
	root, err := os.OpenRoot(tmp)
	if err != nil {
		return "", fmt.Errorf("lay out kit: %w", err)
	}
	defer root.Close()
	if err := form(blob, root, dir); err != nil {
		return "", fmt.Errorf("lay out kit: %w", image.Full(err))
	}
	if err := prove(root); err != nil {
		return "", fmt.Errorf("lay out kit: %w", image.Full(err))
	}
	for range 2 {
		if err = os.Rename(tmp, dir); err == nil || proven(dir) {
			return dir, nil // done here, or by somebody else meanwhile
		}
		if gone := os.RemoveAll(dir); gone != nil {
			err = gone
		}
	}
	return "", fmt.Errorf("lay out kit: %w", err)
}

// prove notes what the files of a folder are like.
func prove(root *os.Root) error {
	stamps, err := stamps(root)
	if err != nil {
		return err
	}
	b, err := json.Marshal(stamps)
	if err != nil {
		return err
	}
	return root.WriteFile(proofName, b, 0o600)
}

// proven says whether a folder is as it was laid out.
func proven(dir string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer root.Close()
	var want map[string]string
	b, err := root.ReadFile(proofName)
	if err != nil || json.Unmarshal(b, &want) != nil {
		return false
	}
	now, err := stamps(root)
	if err != nil || len(now) != len(want) {
		return false
	}
	for name, s := range now {
		if want[name] != s {
			return false
		}
	}
	return true
}

func stamps(root *os.Root) (map[string]string, error) {
	list, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, e := range list {
		if e.Name() == proofName {
			continue
		}
		f, err := root.Open(e.Name())
		if err != nil {
			return nil, err
		}
		all[e.Name()], err = stampOf(f)
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
