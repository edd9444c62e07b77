package boot

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"ore"
)

// proof is what is recorded of a file that machines boot: the digest of its
// bytes, and the stamp at which they were last seen to match. As long as a
// file's stamp is the same, nobody has written to it since; otherwise it is read
// again. What the kernel cannot notice, such as a disk that rots, a stamp does
// not tell.
type proof struct {
	Digest ore.Digest
	Stamp  string // device, inode, size and change time (st_ctime, which no program can set)
}

// proofSuffix ends the name of the proof of a file that was made here.
const proofSuffix = ".proof"

// errChanged is what is wrong with a file that somebody wrote to.
var errChanged = errors.New("its bytes are not those that were recorded: something wrote to it, or the disk rots")

// make makes a file that machines boot, unless it is there, and checks it. The
// digest is recorded before the file has its name, so that there is no file
// without one; where it was lost, the file is made again.
func (b *Boot) make(path string, write func(*os.File) error) error {
	record := path + proofSuffix
	if readProof(record).Digest == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err := whole(path, func(f *os.File) error {
		if err := write(f); err != nil {
			return err
		}
		d, err := digestOf(f)
		if err != nil {
			return err
		}
		return proof{Digest: d}.write(record)
	})
	if err != nil {
		return err
	}
	if err := verified(path, record); err != nil {
		return fmt.Errorf("%s: %w: remove it, and it is made again", path, err)
	}
	return nil
}

// kernel checks the kernel in the package's tree. Its digest is recorded when it
// is seen first, just after the package, which was compared with its own digest,
// was unpacked.
func (b *Boot) kernel() error {
	if err := verified(b.Kernel.Path, b.made("kernel", proofSuffix, b.Kernel.Path)); err != nil {
		return fmt.Errorf("boot: kernel of %s: %s: %w: remove the folder %s, and the package is unpacked again", b.Kernel.Package, b.Kernel.Path, err, b.tree.Dir)
	}
	return nil
}

// verified compares the file at path with what is recorded of it, and records
// it if nothing is.
func verified(path, record string) error {
	now, err := stampOf(path)
	if err != nil {
		return err
	}
	known := readProof(record)
	if known.Stamp == now {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := digestOf(f)
	if err != nil {
		return err
	}
	if known.Digest != "" && known.Digest != got {
		return errChanged
	}
	return proof{Digest: got, Stamp: now}.write(record)
}

// readProof reads a record. One that is damaged, as a crash of the host may leave
// it, is none.
func readProof(record string) proof {
	var p proof
	text, err := os.ReadFile(record)
	if err != nil || json.Unmarshal(text, &p) != nil {
		return proof{}
	}
	return p
}

// write writes a record, whole.
func (p proof) write(record string) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(record), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(record), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), record)
}

func digestOf(f *os.File) (ore.Digest, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, info.Size())); err != nil {
		return "", err
	}
	return ore.NewDigest([sha256.Size]byte(h.Sum(nil))), nil
}

func stampOf(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("%s: no inode", path)
	}
	return fmt.Sprintf("%d %d %d %d.%09d", st.Dev, st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec), nil
}
