package node

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"ore"
)

// What machines are given are keys that programs take, other ones each time, and
// only for packages that an image has.
func TestOwnFiles(t *testing.T) {
	if none, err := (maker{name: "m0", domain: "x"}).files([]ore.Package{{Name: "openssh-client"}}); err != nil || len(none) > 0 {
		t.Errorf("without the packages: %d files, %v", len(none), err)
	}
	with := []ore.Package{{Name: "openssh-server"}, {Name: "ssl-cert"}}
	seen := map[string]bool{}
	for range 2 {
		files, err := maker{name: "m0", domain: "job.internal"}.files(with)
		if err != nil {
			t.Fatal(err)
		}
		content := map[string][]byte{}
		for _, f := range files {
			content[f.Path] = f.Content
			if seen[string(f.Content)] {
				t.Errorf("%s is the same on two machines", f.Path)
			}
			seen[string(f.Content)] = true
			if private := strings.Contains(string(f.Content), "PRIVATE"); private && f.Mode&0o007 != 0 {
				t.Errorf("%s: everybody may read it: mode %o", f.Path, f.Mode)
			}
		}
		for _, kind := range []string{"ed25519", "ecdsa"} {
			key := "/etc/ssh/ssh_host_" + kind + "_key"
			signer, err := ssh.ParsePrivateKey(content[key])
			if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			public, _, _, _, err := ssh.ParseAuthorizedKey(content[key+".pub"])
			if err != nil || string(public.Marshal()) != string(signer.PublicKey().Marshal()) {
				t.Errorf("%s.pub is another's: %v", key, err)
			}
		}
		cert, key := content["/etc/ssl/certs/ssl-cert-snakeoil.pem"], content["/etc/ssl/private/ssl-cert-snakeoil.key"]
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			t.Errorf("certificate: %v", err)
		}
		block, _ := pem.Decode(cert)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || c.VerifyHostname("m0.job.internal") != nil {
			t.Errorf("certificate is another machine's: %v", err)
		}
	}
}

// munge's key is the same on all machines of a job, on machines that come later,
// and on no machine of another job.
func TestMungeKey(t *testing.T) {
	with := []ore.Package{{Name: "munge"}}
	key := func(n *Node, s Start) string {
		t.Helper()
		secret, err := n.secret(s)
		if err != nil {
			t.Fatal(err)
		}
		n.last = Start{Secret: secret}
		files, err := maker{name: "m0", secret: secret}.files(with)
		if err != nil || len(files) != 1 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		if f := files[0]; f.Path != "/etc/munge/munge.key" || f.Mode != 0o400 || f.Owner != "munge" || f.Group != "munge" || len(f.Content) != mungeKeySize {
			t.Errorf("%s of %s:%s, mode %o, %d bytes", f.Path, f.Owner, f.Group, f.Mode, len(f.Content))
		}
		return string(files[0].Content)
	}
	one, two := New(Config{}), New(Config{})
	first := key(one, Start{})
	if again := key(one, Start{}); again != first {
		t.Error("a machine that was added has another key")
	}
	if other := key(two, Start{}); other == first {
		t.Error("two jobs have the same key")
	}
	shared, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	if key(New(Config{}), Start{Secret: shared}) != key(New(Config{}), Start{Secret: shared}) {
		t.Error("two hosts of one job have different keys")
	}
}
