//go:build system

package main

import (
	"slices"
	"strings"
	"testing"
)

// Each machine has keys of its own, with which Debian's programs work, though
// the image is the same.
func TestMachinesHaveTheirOwnKeys(t *testing.T) {
	p := someone(t)
	o := p.must(t, "run", "-q", "-n", "2", "-p", "openssh-server,ssl-cert,openssl", "--results", p.results(t), "--", "sh", "-ec", `
		mkdir -p /run/sshd; /usr/sbin/sshd -t; echo sshd
		ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key | cut -d' ' -f2
		cat /etc/machine-id
		openssl x509 -noout -fingerprint -in /etc/ssl/certs/ssl-cert-snakeoil.pem
		stat -c '%a %G' /etc/ssl/private/ssl-cert-snakeoil.key
		dpkg --audit`)
	of := map[string][]string{}
	for line := range strings.Lines(o.out) {
		rank, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
		of[rank] = append(of[rank], text)
	}
	a, b := of["0"], of["1"]
	if len(a) != 5 || len(b) != 5 {
		t.Fatalf("%v", o)
	}
	for i, same := range []bool{true, false, false, false, true} {
		if (a[i] == b[i]) != same {
			t.Errorf("%q on m0, %q on m1", a[i], b[i])
		}
	}
	if a[4] != "640 ssl-cert" || !slices.Contains(a, "sshd") {
		t.Errorf("%q", a)
	}
}

// Machines of one job believe each other by munge's key, which stands in no image.
func TestMachinesShareMungesKey(t *testing.T) {
	p := someone(t)
	key := func() string {
		t.Helper()
		o := p.must(t, "run", "-q", "-n", "2", "--mode", "first", "-p", "munge", "--results", p.results(t), "--", "sh", "-ec", `
			for m in m0 m1; do
				ore-rsh $m 'install -d -o munge -g munge /run/munge && setpriv --reuid munge --regid munge --init-groups munged' 2>&1
			done
			munge -n | ore-rsh m1 unmunge | grep STATUS
			stat -c '%a %U:%G' /etc/munge/munge.key
			sha256sum /etc/munge/munge.key`)
		lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(o.out, "0: ", "")), "\n")
		if len(lines) != 3 || !strings.Contains(lines[0], "Success (0)") || lines[1] != "400 munge:munge" {
			t.Fatalf("%v", o)
		}
		return lines[2]
	}
	if one, two := key(), key(); one == two {
		t.Errorf("two jobs have the same key: %s", one)
	}
}
