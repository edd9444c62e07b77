//go:build system

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"ore/node/agent"
	"ore/testbed"
	"ore/vnet/trunk"
)

// largeMessage is what every rank sends to the next: more than any protocol of
// an MPI for small messages takes, and more than all else that a run sends.
const largeMessage = 4 << 20

// ring is a program for any MPI whose library and a message's size it is given:
// it knows the handles of Open MPI, which are the addresses of its symbols, and
// those of MPICH and all of its ABI (mpi.h of both). So it needs no compiler,
// and no Python module, of which Debian has one for Open MPI only. Ranks that wait
// sleep in between: on real hosts each has a core to spin on, but here eight
// share those of one host with the switches that their messages go through.
const ring = `
import ctypes as c
import socket
import sys
import time

lib, size_of_message = c.CDLL(sys.argv[1], c.RTLD_GLOBAL), int(sys.argv[2])
if hasattr(lib, "ompi_mpi_comm_world"):
    at = lambda name: c.c_void_p(c.addressof(c.c_char.in_dll(lib, name)))
    world, byte, long, add = map(at, ("ompi_mpi_comm_world", "ompi_mpi_byte", "ompi_mpi_long", "ompi_mpi_op_sum"))
    no_status, request = c.c_void_p(0), c.c_void_p
else:
    world, byte, long, add = map(c.c_int, (0x44000000, 0x4c00010d, 0x4c000807, 0x58000003))
    no_status, request = c.c_void_p(1), c.c_int

def mpi(name, *args):
    code = getattr(lib, "MPI_" + name)(*args)
    if code:
        sys.exit("MPI_%s: error %d" % (name, code))

def begin(name, *args):
    r = request()
    mpi(name, *args, c.byref(r))
    return r

def end(*requests):
    for r in requests:
        over = c.c_int()
        while not over.value:
            mpi("Test", c.byref(r), c.byref(over), no_status)
            time.sleep(0.001 * (not over.value))

def number(name):
    n = c.c_int()
    mpi(name, world, c.byref(n))
    return n.value

mpi("Init", None, None)
rank, size = number("Comm_rank"), number("Comm_size")
before, after = (rank - 1) % size, (rank + 1) % size

# A large message goes to the next rank, and differs for each and along its way.
def text(of):
    block = bytes((2 * of + 1) * i & 255 for i in range(256))
    return b"".join(n.to_bytes(4, "big") + block[4:] for n in range(size_of_message // 256))

own, come = c.create_string_buffer(text(rank), size_of_message), c.create_string_buffer(size_of_message)
end(begin("Irecv", come, size_of_message, byte, before, 1, world), begin("Isend", own, size_of_message, byte, after, 1, world))
same = come.raw == text(before)

# A token goes around once, and every rank adds a digit.
token = c.c_long(0)
if rank > 0:
    end(begin("Irecv", c.byref(token), 1, long, before, 2, world))
token.value = token.value * 10 + rank + 1
end(begin("Isend", c.byref(token), 1, long, after, 2, world))
if rank == 0:
    end(begin("Irecv", c.byref(token), 1, long, before, 2, world))

# All learn the sums, and then how many have learned the right ones.
sums, agreed = (c.c_long * 2)(), c.c_long()
mine = (c.c_long * 2)(rank + 1, same)
end(begin("Iallreduce", mine, sums, 2, long, add, world))
right = c.c_long(sums[0] == size * (size + 1) // 2 and sums[1] == size)
end(begin("Iallreduce", c.byref(right), c.byref(agreed), 1, long, add, world))
names = c.create_string_buffer(64 * size)
name = c.create_string_buffer(socket.gethostname().encode(), 64)
end(begin("Igather", name, 64, byte, names, 64, byte, 0, world))
if rank == 0:
    print("sum", sums[0], "same", sums[1], "token", token.value, "agreed", agreed.value,
          *(names[64 * i:64 * i + 64].rstrip(b"\0").decode() for i in range(size)), flush=True)
mpi("Finalize")
`

// dialogue is the job on rank 0: it waits before and after each MPI, so that the
// traffic of each can be told. Its machines are those of Debian 13, since
// MPI_Finalize of Debian 12's MPICH 4.0.2 may wait without end, on any hosts: one
// rank closes its connections while another has stopped to serve them (MPICH's
// pull request 6596).
const dialogue = `
echo ready; read go
mpirun -n 8 python3 /data/ring.py libmpi.so.40 "$1" </dev/null; echo done; read go
mpiexec.mpich -n 8 python3 /data/ring.py libmpich.so.12 "$1" </dev/null; echo done; read go
`

// Both families of MPI run over eight machines on four hosts as over any eight
// hosts: a ring and all-reduces have the right answers on every rank, every rank
// is on its own machine, and what hosts tell each other goes over their trunks.
func TestMPIOverHosts(t *testing.T) {
	p := someone(t)
	packages := []string{"--base", "debian/trixie", "-p", "openmpi-bin,mpich,python3"}
	p.must(t, append([]string{"build", "-q"}, packages...)...)
	p.must(t, append(append([]string{"run", "-q", "--results", p.results(t)}, packages...), "--", "true")...) // the kernel is at hand now
	f := lend(t, p, 4)
	args := append(append([]string{"run", "-q", "-n", "8", "--mode", "first", "--results", p.results(t),
		"--mount", p.file(t, "ring.py", ring) + ":/data/ring.py"}, packages...), f.flags...)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	d := converse(t, f.on(ctx, testbed.Head, append(args, "--", "sh", "-ec", dialogue, "sh", strconv.Itoa(largeMessage))...))
	d.expect(t, "ready")
	on := f.machines(t)
	for _, h := range f.hosts {
		if len(on[h]) != 2 {
			t.Errorf("not two machines on each of four hosts: %v", on)
		}
	}
	const want = "sum 36 same 8 token 12345678 agreed 8 m0 m1 m2 m3 m4 m5 m6 m7"
	for _, mpi := range []string{"Open MPI", "MPICH"} {
		before := f.crossed(t)
		begun := time.Now()
		d.say(t, "go")
		d.expect(t, want)
		d.expect(t, "done")
		t.Logf("%s took %v", mpi, time.Since(begun).Round(time.Millisecond))
		after := f.crossed(t)
		// However ranks are placed, some rank of a host is followed, and some
		// preceded, by one of another host.
		for _, h := range f.hosts {
			out, in, wire := after[h].out-before[h].out, after[h].in-before[h].in, after[h].wire-before[h].wire
			t.Logf("%s: %s: trunks %d bytes out, %d in; the host %d out", mpi, h, out, in, wire)
			if out < largeMessage || in < largeMessage || wire < largeMessage {
				t.Errorf("%s: a message of %d bytes left %s and one came, but its trunks saw %d and %d, its network %d", mpi, largeMessage, h, out, in, wire)
			}
		}
	}
	d.say(t, "go")
	d.end(t)
}

// crossing is what has gone between a host and the others: over the links of the
// job's network, and by the host's own count over its network.
type crossing struct{ out, in, wire int64 }

// crossed asks all hosts. Each must have a working link to every other.
func (f *lent) crossed(t *testing.T) map[string]crossing {
	t.Helper()
	out, err := f.on(t.Context(), testbed.Head, append([]string{"hosts", "--json"}, f.flags...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []struct{ Facts *agent.Facts }
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	total := map[string]crossing{}
	for _, h := range all {
		if h.Facts == nil || len(h.Facts.Jobs) != 1 {
			t.Fatalf("not one job on each host: %s", out)
		}
		links := h.Facts.Jobs[0].Links
		if len(links) != len(f.hosts)-1 {
			t.Fatalf("%s has %d links: %+v", h.Facts.Name, len(links), links)
		}
		total[h.Facts.Name] = f.over(t, h.Facts.Name, links)
	}
	return total
}

func (f *lent) over(t *testing.T, host string, links []trunk.Stats) crossing {
	t.Helper()
	c := crossing{wire: f.sent(t, host)}
	for _, l := range links {
		if !l.Up {
			t.Errorf("the link of %s to %s is down: %+v", host, l.ID, l)
		}
		c.out += int64(l.Sent.Bytes)
		c.in += int64(l.Received.Bytes)
	}
	return c
}

// talk is a job on one rank that is spoken with, line by line.
type talk struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	errs  bytes.Buffer
}

// converse starts a job.
func converse(t *testing.T, cmd *exec.Cmd) *talk {
	t.Helper()
	d := &talk{cmd: cmd}
	var err error
	if d.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.lines, cmd.Stderr = bufio.NewScanner(out), &d.errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *talk) say(t *testing.T, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(d.in, line); err != nil {
		t.Fatal(err)
	}
}

// expect reads the next line, which must be this one of rank 0.
func (d *talk) expect(t *testing.T, line string) {
	t.Helper()
	if !d.lines.Scan() {
		err := d.cmd.Wait()
		t.Fatalf("no line %q before the end: %v: %s", line, err, d.errs.Bytes())
	}
	if _, got, _ := strings.Cut(d.lines.Text(), ": "); got != line {
		t.Fatalf("rank 0 says %q, not %q: %s", d.lines.Text(), line, d.errs.Bytes())
	}
}

// end waits for the job's end, which must be a success without more words.
func (d *talk) end(t *testing.T) {
	t.Helper()
	for d.lines.Scan() {
		t.Errorf("one line more: %q", d.lines.Text())
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the job: %v: %s", err, d.errs.Bytes())
	}
}
