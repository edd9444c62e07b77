package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// row is one arm measured once.
type row struct {
	Arm     string
	Round   int
	Hosts   int
	At      time.Time
	Load    float64            // average of the last minute, before
	Seconds float64            // from the request to the last answer
	CPU     float64            // seconds of all cores, but for what has a lower priority
	Full    float64            // seconds in which all cores were busy
	Sent    int64              // bytes that left the source's link, with all headers
	Stored  int64              `json:",omitempty"` // bytes that each host lacked
	Stages  map[string]float64 `json:",omitempty"`
}

// alone is what the row would have taken on hosts with cores of their own, and
// rather more than that. They share this computer's here: a time in which all of
// its cores were busy is one in which they queue up for cores, and on hosts of its
// own a machine's work, which uses one core at a time, would need cores/hosts of
// that. The time that the source's link needs for what was waited for, at so many
// bytes a second, stays, and what is computed stands after it as if nothing of it
// were done meanwhile. What was waited for is all that was sent, or less where one
// host had its answer with fewer bytes: here the rest of an image goes on coming
// while hosts queue up, and nobody waits for it. 0 says that all was waited for.
func (r row) alone(rate float64, waited int64) float64 {
	if waited == 0 || waited > r.Sent {
		waited = r.Sent
	}
	queued := min(r.Full, max(0, r.Seconds-float64(waited)/rate))
	return r.Seconds - queued*max(0, 1-float64(runtime.NumCPU())/float64(r.Hosts))
}

// subtracted is the row's time without the term of the model for hosts that share
// P cores: N hosts need at least N times what one computes, divided by P. What one
// computes it needs on its own host, too, and so what the others do is subtracted.
// It is less than hosts of their own would take, since some of that was
// done while the link was waited for.
func (r row) subtracted(one float64) float64 {
	return r.Seconds - max(0, r.CPU-one)/float64(runtime.NumCPU())
}

// clock is what is noted while an arm runs.
type clock struct {
	begun time.Time
	r     row
	first ticks
	stop  chan struct{}
	done  sync.WaitGroup
	full  float64
}

// sampling is how often busy cores are looked at: forty ticks of two cores.
const sampling = 200 * time.Millisecond

// fullShare of all ticks busy is full: a tick more or less is chance.
const fullShare = 0.94

func startClock() *clock {
	c := &clock{begun: time.Now(), first: readTicks(), stop: make(chan struct{})}
	c.r = row{At: c.begun, Load: load()}
	c.done.Go(func() {
		t := time.NewTicker(sampling)
		defer t.Stop()
		for before := c.first; ; {
			select {
			case <-c.stop:
				return
			case <-t.C:
			}
			now := readTicks()
			if all := now.all - before.all; all > 0 && now.busy-before.busy >= fullShare*all {
				c.full += all / ticksASecond / float64(runtime.NumCPU())
			}
			before = now
		}
	})
	return c
}

// end returns the row so far.
func (c *clock) end() row {
	c.r.Seconds = time.Since(c.begun).Seconds()
	c.r.CPU = (readTicks().busy - c.first.busy) / ticksASecond
	close(c.stop)
	c.done.Wait()
	c.r.Full = c.full
	return c.r
}

// ticks are those of all cores since the computer's start (proc(5), stat).
type ticks struct{ all, busy float64 }

// ticksASecond is USER_HZ, which is 100 on all that Debian runs on.
const ticksASecond = 100

func readTicks() ticks {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return ticks{}
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var t ticks
	for i, w := range strings.Fields(line)[1:] {
		var v float64
		if _, err := fmt.Sscan(w, &v); err != nil || i > 7 { // what guests took is in the others
			break
		}
		t.all += v
		// Not idle, nor idle until a disk answers; and what was started with a lower
		// priority is somebody else's and gets what is left.
		if i != 1 && i != 3 && i != 4 {
			t.busy += v
		}
	}
	return t
}

func load() float64 {
	var v float64
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(text), &v)
	}
	return v
}

// table is the rows of one run, in a file as they are measured.
type table struct {
	file *os.File
	rows map[string][]row
}

// facts stand before the rows.
type facts struct {
	Begun    time.Time
	Cores    int
	Kernel   string
	Ore      string
	Hosts    int
	Rounds   int
	Link     float64 // Mbit/s
	Rate     float64 `json:",omitempty"` // of the source, Mbit/s
	Measured float64 // bytes a second that one TCP stream gets from the source
	Layers   int64   // bytes of the image
	Archive  int64   // bytes of the same tree as tar.zst
}

func (l *lab) rows(ctx context.Context, what string) (*table, error) {
	if err := os.MkdirAll(l.results, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(l.results, time.Now().UTC().Format("2006-01-02-150405")+"-"+what+".jsonl"))
	if err != nil {
		return nil, err
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	version, _ := exec.CommandContext(ctx, l.program(), "version").Output() // missed where it is used
	line, _, _ := strings.Cut(string(version), "\n")
	t := &table{file: f, rows: map[string][]row{}}
	return t, t.write(facts{
		Begun: time.Now(), Cores: runtime.NumCPU(), Kernel: string(bytes.TrimSpace(kernel)), Ore: line, Hosts: l.hosts, Rounds: l.rounds,
		Link: l.link, Rate: l.rate, Measured: l.goods, Layers: l.image, Archive: l.archive,
	})
}

func (t *table) write(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s\n", text)
	_, err = t.file.Write(append(text, '\n'))
	return err
}

func (t *table) add(r row) error {
	t.rows[r.Arm] = append(t.rows[r.Arm], r)
	return t.write(r)
}

func (t *table) close() error { return t.file.Close() }

// of is the median of one number of an arm's rows; 0 if it has none.
func (t *table) of(arm string, number func(row) float64) float64 {
	var c []float64
	for _, r := range t.rows[arm] {
		c = append(c, number(r))
	}
	slices.Sort(c)
	if len(c) == 0 {
		return 0
	}
	return (c[(len(c)-1)/2] + c[len(c)/2]) / 2
}

func seconds(r row) float64    { return r.Seconds }
func processors(r row) float64 { return r.CPU }
func megabytes(r row) float64  { return float64(r.Sent) / mega }

// alone is what an arm's rows would have taken without queueing. Of ours, one host
// tells how much is waited for.
func (t *table) alone(l *lab, arm string) func(row) float64 {
	var waited int64
	if arm == ours {
		waited = int64(t.of(oursOne, func(r row) float64 { return float64(r.Sent) }))
	}
	return func(r row) float64 { return r.alone(l.goods, waited) }
}

// atAll is an arm's median time with all hosts, and how it was found. An
// installation is measured with fewer hosts where the user says so; its time
// grows with each further host by the same, since hosts share the mirror's link
// and this computer's cores.
func (t *table) atAll(l *lab, arm string) (float64, string) {
	m := t.of(arm, seconds)
	if arm != installAll || l.fewer == l.hosts || m == 0 {
		return m, ""
	}
	first := t.of(installOne, seconds)
	if first == 0 || l.fewer < 2 {
		return 0, fmt.Sprintf("not known: it needs %s and two hosts", installOne)
	}
	step := (m - first) / float64(l.fewer-1)
	return first + step*float64(l.hosts-1), fmt.Sprintf("extrapolated: %.1f s with 1 host, %.1f s with %d, the same for each further one", first, m, l.fewer)
}

// report prints medians, and what the goals are made of, and keeps the text
// beside the rows.
func (t *table) report(l *lab) error {
	var w strings.Builder
	fmt.Fprintf(&w, "%d hosts, links of %.0f Mbit/s (one stream got %.2f MB/s), image of %.1f MB in layers and %.1f MB as tar.zst\n\n",
		l.hosts, l.link, l.goods/1e6, float64(l.image)/1e6, float64(l.archive)/1e6)
	fmt.Fprint(&w, "| arm | hosts | runs | median s | least | most | without queueing for cores | CPU s | MB from the source |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, a := range arms() {
		rs := t.rows[a.name]
		if len(rs) == 0 {
			continue
		}
		faster := func(a, b row) int { return cmp.Compare(a.Seconds, b.Seconds) }
		fmt.Fprintf(&w, "| `%s` | %d | %d | %.2f | %.2f | %.2f | %.2f | %.1f | %.1f |\n", a.name, rs[0].Hosts, len(rs), t.of(a.name, seconds),
			slices.MinFunc(rs, faster).Seconds, slices.MaxFunc(rs, faster).Seconds,
			t.of(a.name, t.alone(l, a.name)), t.of(a.name, processors), t.of(a.name, megabytes))
	}
	fmt.Fprint(&w, "\n| what | measured | at least | |\n| --- | --- | --- | --- |\n")
	mine := t.of(ours, seconds)
	for _, g := range []struct{ arm, what, goal string }{
		{installAll, "each machine installs from one mirror", "10 x"},
		{starUnpack, "cache + star, unpacked", "8 x"},
		{starMount, "cache + star, our layers mounted", ""},
		{chainAll, "cache + chain + unpack", "2 x"},
	} {
		if m, note := t.atAll(l, g.arm); m > 0 && mine > 0 {
			fmt.Fprintf(&w, "| %s, against ours | %.2f x | %s | %s |\n", g.what, m/mine, g.goal, note)
		}
	}
	if first := t.of(oursOne, seconds); first > 0 && mine > 0 {
		fmt.Fprintf(&w, "| T(%d)/T(1) | %.3f | | as measured |\n", l.hosts, mine/first)
		one := t.of(oursOne, processors)
		fmt.Fprintf(&w, "| T(%d)/T(1), the other hosts' CPU seconds divided by cores subtracted | %.3f | <= 1.15 | |\n", l.hosts,
			t.of(ours, func(r row) float64 { return r.subtracted(one) })/first)
		fmt.Fprintf(&w, "| T(%d)/T(1), without queueing for cores | %.3f | | at most: computing after the link, not beside it |\n", l.hosts, t.of(ours, t.alone(l, ours))/first)
	}
	if m := t.of(oursEmpty, seconds); m > 0 && mine > 0 {
		fmt.Fprintf(&w, "| ours where hosts have not even a hypervisor, against ours | %.2f x | | |\n", m/mine)
	}
	if m, note := t.atAll(l, installAll); m > 0 && mine > 0 {
		fmt.Fprintf(&w, "| saved against installing on each | %.1f %% | 90 %% | %s |\n", 100*(1-mine/m), note)
	}
	return t.tell(w.String())
}

// tell prints a text and keeps it beside the rows.
func (t *table) tell(text string) error {
	fmt.Print(text)
	return os.WriteFile(strings.TrimSuffix(t.file.Name(), "jsonl")+"md", []byte(text), 0o644)
}
