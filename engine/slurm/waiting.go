package slurm

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ore"
)

// Between these two lie the pauses in which Slurm is asked why a request waits: soon
// at first, since it may be one that it can never grant; then seldom, since a
// question costs the controller some ms and the request may wait for days.
const (
	firstLook = time.Second
	lastLook  = 15 * time.Second
)

// queued is the line by which salloc says which job it waits for.
var queued = regexp.MustCompile(`(?:Pending job allocation|^job) (\d+)`)

// linger tells why a request waits, each time that Slurm gives another reason. It
// returns an error when no waiting can help, and nil when the request does not wait
// any more or ctx ends.
func (s Settings) linger(ctx context.Context, m means, id string, r request, watch ore.Watcher) error {
	told := ""
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		asked, cancel := context.WithTimeout(ctx, askTime)
		st, err := m.state(asked, id)
		cancel()
		if err != nil {
			continue // who waits for the end hears of it; and the controller may be away for a while
		}
		if !st.waits() {
			return nil
		}
		if err := s.never(ctx, id, st.Reason, r); err != nil {
			return err
		}
		if st.Reason != told && st.Reason != "" && st.Reason != "None" {
			told = st.Reason
			watch.Tell(ore.Event{Stage: "reserve", Text: fmt.Sprintf("Slurm: job %s waits: %s", id, waitsFor(told))})
		}
	}
}

// waitsFor says what the commonest of Slurm's reasons mean (squeue(1), JOB REASON
// CODES); the others are told as they are.
func waitsFor(reason string) string {
	words := map[string]string{
		"Resources":        "its hosts are taken",
		"Priority":         "jobs of higher priority come first",
		"PartitionDown":    "its partition is down",
		"ReqNodeNotAvail":  "hosts that it needs are down or reserved",
		"PartitionConfig":  "its partition cannot give that at the moment",
		"JobHeldUser":      "it is held: 'scontrol release' lets it go",
		"JobHeldAdmin":     "an operator holds it",
		"AssocGrpCpuLimit": "the account's CPUs are taken",
	}[reason]
	if words == "" {
		return reason
	}
	return words + " (" + reason + ")"
}

// never says that Slurm can never grant what waits for that reason.
func (s Settings) never(ctx context.Context, id, reason string, r request) error {
	what := fmt.Sprintf("Slurm job %s: Slurm will never start it (%s)", id, reason)
	switch reason {
	case "PartitionTimeLimit":
		return fmt.Errorf("%s: it asks for more time than its partition gives: give the job a shorter timeout, or use another partition", what)
	case "InvalidAccount", "AccountNotAllowed":
		return fmt.Errorf("%s: its account may not use this partition: give another account or partition, see 'sacctmgr show assoc'", what)
	case "InvalidQOS", "QOSNotAllowed":
		return fmt.Errorf("%s: its QOS may not be used there: give another QOS or partition, see 'sacctmgr show assoc'", what)
	case "PartitionConfig", "PartitionNodeLimit", "BadConstraints":
		if room, ok := s.capacity(ctx, r); ok && room < r.machines.Count {
			cpus, memory := r.tasks()
			return fmt.Errorf("%s: it asks for %d machines of %d CPUs and %d MB, and all hosts together%s have room for %d: ask for fewer or smaller machines, or use another partition",
				what, r.machines.Count, cpus, memory*int64(cpus), s.within(), room)
		}
	}
	if strings.Contains(reason, "PerJob") {
		return fmt.Errorf("%s: it asks for more than one job may have: ask for fewer or smaller machines, see 'sacctmgr show qos' and 'sacctmgr show assoc'", what)
	}
	return nil
}

// within names the partition, if there is a choice.
func (s Settings) within() string {
	if s.Partition == "" {
		return ""
	}
	return " of partition " + s.Partition
}

// sizeFormat has sinfo print what parseSizes reads: host, CPUs as
// allocated/idle/other/total, and MB of memory.
const sizeFormat = "%N|%C|%m"

// capacity is how many of the request's machines all hosts of the partition could
// have if nothing else ran there, and whether Slurm says.
func (s Settings) capacity(ctx context.Context, r request) (machines int, ok bool) {
	args := []string{"sinfo", "-h", "-N", "-o", sizeFormat}
	if s.Partition != "" {
		args = append(args, "-p", s.Partition)
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	out, err := ask(ctx, args...)
	if err != nil {
		return 0, false
	}
	return parseSizes(out, r)
}

// parseSizes adds up how many machines fit on hosts, each of which may be listed
// once for each of its partitions. Of a host whose memory is not set Slurm knows 1.
func parseSizes(text string, r request) (machines int, ok bool) {
	cpus, memory := r.tasks()
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 3 || seen[f[0]] {
			continue
		}
		counts := strings.Split(f[1], "/")
		total, err := strconv.Atoi(counts[len(counts)-1])
		if err != nil || len(counts) != 4 || total < 0 {
			continue
		}
		seen[f[0]] = true
		fit := total / cpus
		if mb, err := strconv.ParseInt(strings.TrimSuffix(f[2], "+"), 10, 64); err == nil && mb > 1 {
			fit = int(min(int64(fit), mb/(memory*int64(cpus))))
		}
		machines += fit
	}
	return machines, len(seen) > 0
}
