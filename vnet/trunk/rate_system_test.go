//go:build system

package trunk

import (
	"encoding/json"
	"fmt"
	"testing"

	"ore/testbed"
	"ore/vnet"
)

// TestRates compares what one TCP stream between machines of two hosts gets
// through the trunk with what it gets over the veth below, in the same run. It
// tells, and does not judge: what else the machine does decides as much.
func TestRates(t *testing.T) {
	for _, link := range []int64{20e6, 100e6, 1e9, 0} {
		t.Run(fmt.Sprint(link/1e6, " Mbit"), func(t *testing.T) {
			b := bedOf(t, testbed.Config{Hosts: 2, Link: link})
			all := players(t, b, vnet.DefaultMTU)
			plain := iperf(t, b, all[0].name, all[1].name, all[1].at.Addr().String())
			before := []report{all[0].ask(order{}), all[1].ask(order{})}
			joined := iperf(t, b, all[0].name, all[1].name, all[1].machineIP())
			after := []report{all[0].ask(order{}), all[1].ask(order{})}
			measured := all[0].ask(order{Measure: all[1].role.ID}).Stats[0]
			gb := joined.bytes / 1e9
			s := after[0].Stats[0]
			t.Logf("plain TCP %.1f Mbit/s, trunk %.1f (%.2f), measured %.1f, rtt %v; CPU s/GB of sender %.2f, receiver %.2f, plain both %.2f; %d datagrams; dropped %v %v",
				plain.rate/1e6, joined.rate/1e6, joined.rate/plain.rate, measured.Rate*8/1e6, measured.RTT,
				(after[0].CPU-before[0].CPU).Seconds()/gb, (after[1].CPU-before[1].CPU).Seconds()/gb, plain.cpu/100*plain.seconds/(plain.bytes/1e9),
				s.Sent.Datagrams, s.Dropped, after[1].Stats[0].Dropped)
			if joined.bytes == 0 || measured.Rate == 0 {
				t.Error("nothing came through")
			}
		})
	}
}

type stream struct{ rate, bytes, cpu, seconds float64 }

// iperf sends one TCP stream for some seconds.
func iperf(t *testing.T, b *testbed.Bed, from, to, address string) stream {
	t.Helper()
	ctx := t.Context()
	server := b.Command(ctx, to, "iperf3", "-s", "-1", "-B", address, "-p", "5301")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer server.Process.Kill()
	var out string
	eventually(t, "iperf3 serves", func() bool {
		out = on(t, b, to, "sh", "-c", "ss -Hltn sport = :5301")
		return out != ""
	})
	out = on(t, b, from, "iperf3", "-c", address, "-p", "5301", "-t", "4", "-J", "--connect-timeout", "3000")
	var r struct {
		End struct {
			Received struct {
				Bits  float64 `json:"bits_per_second"`
				Bytes float64
				Sec   float64 `json:"seconds"`
			} `json:"sum_received"`
			Util map[string]float64 `json:"cpu_utilization_percent"`
		}
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return stream{r.End.Received.Bits, r.End.Received.Bytes, r.End.Util["host_total"] + r.End.Util["remote_total"], r.End.Received.Sec}
}
