//go:build system

package guest_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/guest"
	"ore/vnet"
)

// debianLayer makes a layer of a small Debian with what the tests use. A layer
// that was made before can be named by ORE_TEST_DEBIAN_LAYER, for the sake of
// who changes these tests.
func debianLayer(t *testing.T, dir string) string {
	t.Helper()
	if file := os.Getenv("ORE_TEST_DEBIAN_LAYER"); file != "" {
		return file
	}
	packages := "openmpi-bin,python3-mpi4py,mpich,postgresql,libcap2-bin,iputils-ping,cowsay"
	file := filepath.Join(dir, "debian.squashfs")
	run(t, "sh", "-ec", fmt.Sprintf(
		"mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io --include=%s bookworm %s/debian.tar; "+
			"mksquashfs - %s -tar -quiet -no-progress -no-xattrs -comp zstd -Xcompression-level 1 < %s/debian.tar", packages, dir, file, dir))
	return file
}

// launchable starts the machines m0 to m<n-1> of one job, which can launch on
// each other.
func launchable(t *testing.T, n int, c cluster) []*machine {
	t.Helper()
	network, err := vnet.New(vnet.Config{Policy: ore.Isolated})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { network.Close() })
	c.net = network
	var ids []guest.Identity
	for i := range n {
		ids = append(ids, guest.Identity{Name: fmt.Sprintf("m%d", i), Rank: i, Size: n})
	}
	ms := c.start(t, ids...)
	for _, m := range ms {
		m.OnLaunch(func(ctx context.Context, name string, cmd guest.Command) (guest.Exit, error) {
			i := slices.IndexFunc(ms, func(x *machine) bool { return x.Hello().Name == name })
			if i < 0 {
				return guest.Exit{}, fmt.Errorf("machine %s: not one of this job", name)
			}
			cmd.Env = append(cmd.Env, fmt.Sprintf("ORE_RANK=%d", i))
			return ms[i].Exec(ctx, cmd)
		})
	}
	return ms
}

// sum is a program in which every rank learns the sum over all ranks.
const sum = `
import os
from mpi4py import MPI
c = MPI.COMM_WORLD
total = c.allreduce(c.rank + 1)
names = c.gather((c.rank, MPI.Get_processor_name(), os.environ.get("ORE_RANK", "first")))
if c.rank == 0:
    print(c.size, total, sorted(names))
`

func TestDebianInUML(t *testing.T) {
	dir := t.TempDir()
	layer := debianLayer(t, dir)
	ms := launchable(t, 4, inUML(t, dir, 256<<20, layer))
	for _, m := range ms {
		t.Logf("%s ready after %v: %v", m.Hello().Name, m.ready, m.Hello().Timings)
	}
	t.Run("network", func(t *testing.T) {
		ms[3].sh(t, "ping -c 1 -W 10 m0; getent hosts m2; test $(hostname -f) = m3.$(hostname -d)")
	})
	t.Run("Open MPI", func(t *testing.T) { testOpenMPI(t, ms[0]) })
	t.Run("MPICH", func(t *testing.T) {
		out := ms[0].sh(t, "mpiexec.mpich -n 4 hostname | sort | tr '\\n' ' '")
		if out != "m0 m1 m2 m3 " {
			t.Errorf("got %q", out)
		}
	})
	t.Run("PostgreSQL", func(t *testing.T) { testPostgres(t, ms[1]) })
	t.Run("dpkg", func(t *testing.T) { testDpkg(t, ms[2]) })
}

func testOpenMPI(t *testing.T, m *machine) {
	r, w := io.Pipe()
	file := filepath.Join(t.TempDir(), "sum.py")
	os.WriteFile(file, []byte(sum), 0o644)
	go func() { w.CloseWithError(guest.Pack(w, []string{file})) }()
	if err := m.Put(t.Context(), "", r); err != nil {
		t.Fatal(err)
	}
	// Every machine has its own disk, and so needs the program.
	m.sh(t, "for h in $(cat /run/ore/hosts); do ore-rsh $h 'cat > /job/sum.py' < sum.py; done")
	out := m.sh(t, "mpirun -n 4 python3 sum.py")
	want := "4 10 [(0, 'm0', 'first'), (1, 'm1', '1'), (2, 'm2', '2'), (3, 'm3', '3')]\n"
	if out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	var bad bytes.Buffer
	e, err := m.Exec(t.Context(), guest.Command{Script: "mpirun -n 4 sh -c 'test $OMPI_COMM_WORLD_RANK != 2 || exit 7'", Stderr: &bad})
	if err != nil || e.Code != 7 {
		t.Errorf("a rank that exits with 7: %v, %v\n%s", e, err, &bad)
	}
}

func testPostgres(t *testing.T, m *machine) {
	m.sh(t, "pg_ctlcluster 15 main start")
	out := m.sh(t, `cd /; su postgres -c "psql -qAt -c 'create table t as select generate_series(1, 10000) as n' -c 'vacuum full t' -c 'select sum(n) from t'"`)
	if out != "50005000\n" {
		t.Errorf("got %q", out)
	}
	m.sh(t, "pg_ctlcluster 15 main restart; pg_ctlcluster 15 main stop")
}

// testDpkg upgrades and removes packages whose files are in a layer.
func testDpkg(t *testing.T, m *machine) {
	dir := t.TempDir()
	tree := filepath.Join(dir, "cowsay")
	os.MkdirAll(filepath.Join(tree, "DEBIAN"), 0o755)
	os.MkdirAll(filepath.Join(tree, "usr/games"), 0o755)
	os.WriteFile(filepath.Join(tree, "DEBIAN/control"), []byte("Package: cowsay\nVersion: 99\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: newer\n"), 0o644)
	os.WriteFile(filepath.Join(tree, "usr/games/cowsay"), []byte("#!/bin/sh\necho moo 99\n"), 0o755)
	run(t, "dpkg-deb", "--root-owner-group", "-b", tree, filepath.Join(dir, "new.deb"))
	r, w := io.Pipe()
	go func() { w.CloseWithError(guest.Pack(w, []string{filepath.Join(dir, "new.deb")})) }()
	if err := m.Put(t.Context(), "", r); err != nil {
		t.Fatal(err)
	}
	out := m.sh(t, "test -d /usr/share/cowsay; dpkg -i new.deb >/dev/null; /usr/games/cowsay; test ! -e /usr/share/cowsay; dpkg --verify cowsay; "+
		"dpkg --purge cowsay >/dev/null; test ! -e /usr/games/cowsay; dpkg --purge --force-depends mpich >/dev/null; test ! -e /usr/bin/mpiexec.mpich; dpkg --audit; echo done")
	if out != "moo 99\ndone\n" {
		t.Errorf("got %q", out)
	}
}

func TestCapabilitiesComeBack(t *testing.T) {
	dir := t.TempDir()
	layer := debianLayer(t, dir)
	// cap_net_raw=ep in the form of VFS_CAP_REVISION_2 (linux/capability.h).
	value, err := hex.DecodeString("0100000200200000000000000000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	m := inUML(t, dir, 256<<20, layer).start(t, guest.Identity{
		Name: "m0", Capabilities: []guest.Capability{{Path: "/usr/bin/ping", Value: value}, {Path: "/no/such/file", Value: value}},
	})[0]
	if out := m.sh(t, "getcap /usr/bin/ping"); strings.TrimSpace(out) != "/usr/bin/ping cap_net_raw=ep" {
		t.Errorf("got %q", out)
	}
}
