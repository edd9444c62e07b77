package sandbox

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// configureScript configures every package once more and then uses what
// administrators use to change users and owners.
const configureScript = `
	sed -i 's/^Status: install ok installed/Status: install ok unpacked/' /var/lib/dpkg/status
	DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --configure -a >/dev/null 2>&1
	groupadd --gid 900 crew; useradd --uid 900 --gid 900 --create-home sailor; chage -M 90 sailor
	dpkg-statoverride --update --add sailor crew 2750 /usr/bin/chage
	mkdir /var/local/mine; echo > /var/local/mine/file
	chown sailor: /home/sailor/.profile; install -o sailor -g crew -m 600 /etc/host.conf /home/sailor/hosts
	su -s /bin/sh -c 'id -u; touch /tmp/by-nobody; mkdir /tmp/folder; ln -s x /tmp/link' nobody
	su -s /bin/sh -c 'id -un; id -gn' sailor
	perl -e '$( = $) = 900; $< = $> = 900; open F, ">/tmp/by-perl"; print "$< $> ", $(+0, "\n"'
	passwd -l sailor; grpck -r; pwck -r -q >/dev/null || :
	stat -c '%n %U:%G %a' /etc/shadow /etc/gshadow /var/mail /usr/bin/chage /home/sailor /tmp/by-nobody
`

func workDebian(s *Sandbox, dir string) error {
	base := filepath.Join(dir, "lower")
	start := time.Now()
	if err := untar(s, filepath.Join(dir, "minbase.tar"), base); err != nil {
		return err
	}
	unpacked, cpu := time.Now(), spent()
	root := filepath.Join(dir, "root")
	for _, d := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	if _, err := s.Overlay([]string{base}, filepath.Join(dir, "upper"), filepath.Join(dir, "work"), root); err != nil {
		return err
	}
	var out bytes.Buffer
	script := configureScript
	if p := os.Getenv("ORE_TEST_SCRIPT"); p != "" {
		script = p
	}
	err := s.Run(context.Background(), Command{
		Root: root, Args: []string{"sh", "-euc", script},
		Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}, Stdout: &out, Stderr: &out,
	})
	configured, cpu := time.Now(), spent()-cpu
	fmt.Print(out.String())
	if err != nil {
		return err
	}
	list, err := listing(s, root)
	fmt.Print(list)
	fmt.Fprintf(os.Stderr, "unpack %v, configure %v (%v of processor time), list %v\n",
		unpacked.Sub(start), configured.Sub(unpacked), cpu, time.Since(configured))
	return err
}

// untar unpacks an archive as package install does.
func untar(s *Sandbox, archive, root string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	r := tar.NewReader(f)
	var folders []*tar.Header
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := unpackEntry(s, r, h, root); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		if h.Typeflag == tar.TypeDir {
			folders = append(folders, h)
		}
	}
	// Programs such as mandb compare the times of folders and files.
	for _, h := range folders {
		if err := os.Chtimes(filepath.Join(root, h.Name), h.ModTime, h.ModTime); err != nil {
			return err
		}
	}
	return nil
}

func unpackEntry(s *Sandbox, r io.Reader, h *tar.Header, root string) error {
	p := filepath.Join(root, h.Name)
	switch h.Typeflag {
	case tar.TypeLink:
		return os.Link(filepath.Join(root, h.Linkname), p)
	case tar.TypeDir:
		if err := os.MkdirAll(p, 0o755); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := os.Symlink(h.Linkname, p); err != nil {
			return err
		}
		return s.Chown(p, h.Uid, h.Gid)
	case tar.TypeReg:
		f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		if err := errors.Join(err, f.Close(), os.Chtimes(p, h.ModTime, h.ModTime)); err != nil {
			return err
		}
	case tar.TypeChar:
		if err := s.Mknod(p, unix.S_IFCHR|0o600, uint32(h.Devmajor), uint32(h.Devminor)); err != nil {
			return err
		}
	}
	return errors.Join(s.Chown(p, h.Uid, h.Gid), unix.Chmod(p, uint32(h.Mode)&0o7777))
}
