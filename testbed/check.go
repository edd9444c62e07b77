package testbed

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// checkTime is how long a link is measured, and checkSkip what is left out of it
// at the beginning, while TCP finds the rate and the bucket is full.
const (
	checkTime = 4 * time.Second
	checkSkip = 1 * time.Second
)

// Rate is what one TCP stream got over a link.
type Rate struct {
	From, To string  // hosts
	Bits     float64 // a second, at the receiver, of what TCP carries
}

// Check measures with iperf3 what one TCP stream gets from head to the first
// host and back.
func (b *Bed) Check(ctx context.Context) ([]Rate, error) {
	if _, err := exec.LookPath("iperf3"); err != nil {
		return nil, errors.New("check links: iperf3 is not there: install Debian's iperf3")
	}
	var out []Rate
	for _, way := range [][2]string{{Head, "h1"}, {"h1", Head}} {
		r, err := b.measure(ctx, way[0], way[1])
		if err != nil {
			return nil, fmt.Errorf("check link %s -> %s: %w", way[0], way[1], err)
		}
		out = append(out, r)
	}
	return out, nil
}

// measure measures the way from one host to another.
func (b *Bed) measure(ctx context.Context, from, to string) (Rate, error) {
	s, err := read(b.dir)
	if err != nil {
		return Rate{}, err
	}
	h, err := s.host(to)
	if err != nil {
		return Rate{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*checkTime)
	defer cancel()
	server := b.Command(ctx, to, "iperf3", "-s", "-1", "--forceflush")
	said, err := server.StdoutPipe()
	if err != nil {
		return Rate{}, err
	}
	if err := server.Start(); err != nil {
		return Rate{}, err
	}
	defer server.Wait()
	defer cancel()
	for lines := bufio.NewScanner(said); ; {
		if !lines.Scan() {
			return Rate{}, errors.New("iperf3 -s ended before it listened")
		}
		if strings.Contains(lines.Text(), "listening on") {
			break
		}
	}
	report, err := b.Command(ctx, from, "iperf3", "-J", "-c", h.Address.String(),
		"-t", fmt.Sprint(checkTime.Seconds()), "-O", fmt.Sprint(checkSkip.Seconds())).Output()
	if err != nil {
		return Rate{}, fmt.Errorf("iperf3: %w: %s", err, lastLine(report))
	}
	bits, err := received(report)
	return Rate{From: from, To: to, Bits: bits}, err
}

// received takes the rate at the receiver out of iperf3's report.
func received(report []byte) (float64, error) {
	var r struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return 0, fmt.Errorf("iperf3's report: %w", err)
	}
	if r.End.Received.Rate <= 0 {
		return 0, errors.New("iperf3's report: no byte came through")
	}
	return r.End.Received.Rate, nil
}
