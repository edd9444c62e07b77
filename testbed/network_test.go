package testbed

import (
	"net/netip"
	"strings"
	"testing"
)

func TestBucket(t *testing.T) {
	for rate, want := range map[int64]string{
		100_000_000: "qdisc replace dev eth0 root tbf rate 100000000bit burst 250000 limit 4444304\n",
		500_000:     "qdisc replace dev eth0 root tbf rate 500000bit burst 16384 limit 4210688\n",
		10e9:        "qdisc replace dev eth0 root tbf rate 10000000000bit burst 262144 limit 4456448\n",
	} {
		if got := bucket("eth0", "root", rate); got != want {
			t.Errorf("%d bit/s: %q, want %q", rate, got, want)
		}
	}
}

func TestSubnets(t *testing.T) {
	var taken []netip.Prefix
	for {
		p, err := freeSubnet(taken)
		if err != nil {
			if len(taken) != 16 || !strings.Contains(err.Error(), "take a bed down") {
				t.Errorf("after %d: %v", len(taken), err)
			}
			break
		}
		for _, o := range taken {
			if o.Overlaps(p) {
				t.Fatalf("%v and %v overlap", o, p)
			}
		}
		if last := place(p, firstPlace+MaxHosts-1); !p.Contains(last) {
			t.Fatalf("%v has no room for %d hosts", p, MaxHosts)
		}
		taken = append(taken, p)
	}
	if got := place(netip.MustParsePrefix("10.77.16.0/20"), 266).String(); got != "10.77.17.10" {
		t.Errorf("place 266 is %s", got)
	}
}

func FuzzReceived(f *testing.F) {
	f.Add([]byte(`{"end":{"sum_received":{"bits_per_second":95000000.5}}}`))
	f.Add([]byte(`{"end":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := received(b); err == nil && r <= 0 {
			t.Errorf("%q: %v", b, r)
		}
	})
}

func FuzzTransmitted(f *testing.F) {
	const real = "Inter-|   Receive\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n" +
		"    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n" +
		"  eth0: 2000      20    0    0    0     0          0         0   314159      30    0    0    0     0       0          0\n"
	f.Add(real)
	f.Add("eth0: 1 2 3")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := transmitted(text, "eth0")
		if err == nil && !strings.Contains(text, "eth0") || text == real && n != 314159 {
			t.Errorf("%q: %d bytes, %v", text, n, err)
		}
	})
}
