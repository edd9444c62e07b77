// Package standin has programs that stand in for others of a tree while
// packages are configured there, because those are slow to find out that they
// have nothing to do. Maintainer scripts of Debian 12's base set start Perl for
// deb-systemd-helper 18 times, 12 times for nothing, and 57 times
// dpkg-maintscript-helper, which is made for upgrades and does nothing on a
// first installation. A kernel's initramfs is made twice, and nothing is left of the
// first.
//
// A stand-in answers exactly as the program itself would, or starts it, and leaves what
// that leaves when all packages are configured. Since
// that can only be said of programs that were read, each stands in for files of
// known content; for any other version the program itself runs. The exception is
// ischroot, which is wrong about a sandbox.
package standin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"ore/install/sandbox/instead"
)

//go:embed deb-systemd-helper dpkg-maintscript-helper ischroot update-initramfs
var scripts embed.FS

// anyContent stands for the hash where the stand-in's answer is right whatever
// the program would say.
const anyContent = ""

// known are the programs for which there are stand-ins, and the hashes of their
// contents without lines that only say a version.
var known = [...]struct{ path, hash string }{
	{"usr/bin/deb-systemd-helper", "a895d5f077651960b6ca4ed9c53f8b36eae422ae170f61c972d0c6579e9f8732"},
	{"usr/bin/ischroot", anyContent},
	{"usr/bin/dpkg-maintscript-helper", "10e63d3f17e5c87b5aa042058bda9cc3e1b2b8174ce3063ada8c79cc471eb956"},
	{"usr/sbin/update-initramfs", "a1852a75c3b2b4d453336f22001fc287e1791571168fa799aee3d57feeacfa47"},
}

// Write writes the stand-ins for programs of the tree in the folder root into the
// folder dir, which it makes, and says where they stand in.
func Write(dir, root string) ([]instead.Program, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("write stand-ins: %w", err)
	}
	tree, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("write stand-ins: %w", err)
	}
	defer tree.Close()
	var list []instead.Program
	for _, k := range known {
		b, err := tree.ReadFile(k.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("write stand-ins: %w", err)
		}
		if k.hash != anyContent && hash(b) != k.hash {
			continue
		}
		script, err := scripts.ReadFile(path.Base(k.path))
		if err != nil {
			return nil, fmt.Errorf("write stand-ins: %w", err)
		}
		host := filepath.Join(dir, path.Base(k.path))
		if err := os.WriteFile(host, script, 0o755); err != nil {
			return nil, fmt.Errorf("write stand-ins: %w", err)
		}
		list = append(list, instead.Program{Path: k.path, Host: host})
	}
	return list, nil
}

// hash returns the SHA-256 of a program without the line that says its version.
func hash(program []byte) string {
	h := sha256.New()
	for line := range bytes.Lines(program) {
		if !bytes.HasPrefix(line, []byte(`version="`)) {
			h.Write(line)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
