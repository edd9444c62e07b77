// Package rpmtest makes small RPM repositories for tests, with Debian's rpmbuild
// and createrepo_c (packages rpm, createrepo-c, gnupg and busybox-static).
package rpmtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Key is a key that packages are signed with.
type Key struct {
	Certificate []byte // armored
	home        string
}

// NewKey makes a key.
func NewKey(t testing.TB) *Key {
	t.Helper()
	need(t, "gpg", "gnupg")
	// The agent's socket is in it, whose path must be short (unix(7)).
	home, err := os.MkdirTemp("/tmp", "ore-gpg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		out, err := exec.Command("gpgconf", "--homedir", home, "--kill", "all").CombinedOutput()
		if err != nil {
			t.Errorf("end gpg's agent: %v: %s", err, out)
		}
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	run(t, "", "gpg", "--homedir", home, "--batch", "--passphrase", "", "--quick-gen-key", "ore-test", "ed25519", "sign", "never")
	return &Key{Certificate: run(t, "", "gpg", "--homedir", home, "--armor", "--export", "ore-test"), home: home}
}

// Basis is a package with the folders, the users and the shell that others need:
// busybox, which needs no libraries.
const Basis = `Name: basis
Version: 1.0
Release: 1
Summary: Folders, users and a shell
License: MIT
BuildArch: x86_64
Provides: /bin/sh
%description
Folders, users and a shell.
%install
for d in usr/bin etc dev proc root run sys var/log; do mkdir -p %{buildroot}/$d; done
mkdir -m 1777 %{buildroot}/tmp
ln -s usr/bin %{buildroot}/bin
cp /bin/busybox %{buildroot}/usr/bin/busybox
for a in cat chmod echo env id ls mkdir ps rm sh sleep stat uname; do ln -s busybox %{buildroot}/usr/bin/$a; done
echo root:x:0:0:root:/root:/bin/sh > %{buildroot}/etc/passwd
echo root:x:0: > %{buildroot}/etc/group
%files
/dev
/etc
/proc
/root
/run
/sys
/tmp
/usr
/var
/bin
`

// Hello is a package with an epoch, a program, a group of its own, a capability,
// and scriptlets that use what every system has.
const Hello = `Name: Hello_Grid
Epoch: 2
Version: 1.5
Release: 3
Summary: Says hello
License: MIT
BuildArch: x86_64
Requires: basis >= 1.0
%description
Says hello.
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/var/lib/hello
printf '#!/bin/sh\necho hello from an rpm\n' > %{buildroot}/usr/bin/hello-grid
chmod 755 %{buildroot}/usr/bin/hello-grid
cp /bin/busybox %{buildroot}/usr/bin/capable
%pre
echo hello:x:77: >> /etc/group
%post
id -u > /dev/null && ls /proc/self > /dev/null && echo configured > /var/lib/hello/state
echo said by a scriptlet
%files
/usr/bin/hello-grid
%caps(cap_net_raw=ep) /usr/bin/capable
%attr(750,root,hello) %dir /var/lib/hello
%ghost /var/lib/hello/state
`

// Repository builds the packages that specs describe and indexes them. A nil key
// leaves them unsigned. It returns the folder, which t removes.
func Repository(t testing.TB, key *Key, specs ...string) string {
	t.Helper()
	need(t, "rpmbuild", "rpm")
	need(t, "createrepo_c", "createrepo-c")
	top := t.TempDir()
	dir := filepath.Join(top, "repository")
	for i, s := range specs {
		name := filepath.Join(top, fmt.Sprintf("%d.spec", i))
		if err := os.WriteFile(name, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, "SOURCE_DATE_EPOCH=1700000000", "rpmbuild", "--quiet", "-bb", "--define", "_topdir "+top+"/build", "--define", "_rpmdir "+dir,
			"--define", "__os_install_post %{nil}", "--define", "_build_id_links none", "--define", "debug_package %{nil}",
			"--define", "use_source_date_epoch_as_buildtime 1", "--define", "clamp_mtime_to_source_date_epoch 1",
			"--define", "_buildhost localhost", name)
	}
	if key != nil {
		rpms, err := filepath.Glob(filepath.Join(dir, "*", "*.rpm"))
		if err != nil || len(rpms) != len(specs) {
			t.Fatalf("%d packages of %d specs, %v", len(rpms), len(specs), err)
		}
		run(t, "GNUPGHOME="+key.home, "rpmsign", append([]string{"--define", "_gpg_name ore-test", "--define", "__gpg /usr/bin/gpg", "--addsign"}, rpms...)...)
	}
	run(t, "", "createrepo_c", "--quiet", dir)
	return dir
}

func need(t testing.TB, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%v: install the Debian package %s", err, pkg)
	}
}

// run runs a program and returns what it wrote to its standard output.
func run(t testing.TB, variable, name string, args ...string) []byte {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", variable)
	var out, complaints bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaints
	if err := c.Run(); err != nil {
		t.Fatalf("%s %s: %v: %s%s", name, strings.Join(args, " "), err, out.String(), complaints.String())
	}
	return out.Bytes()
}
