package slurm

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"ore/node/agent"
)

// where sets the address at which the agent is to listen: that by which others
// know the host, of the words HOST=ADDRESS in $1, else its own first one. And it says
// where the host stands, if Slurm knows (srun(1), SLURM_TOPOLOGY_ADDR): below which
// leaf switch, and below which next one.
const where = `a=; for w in $1; do case $w in "$SLURMD_NODENAME="*) a=${w#*=};; esac; done; shift
if [ -z "$a" ]; then a=$(hostname -I); a=${a%% *}; fi
case $a in *:*) a="[$a]";; esac
case $SLURM_TOPOLOGY_ADDR_PATTERN in *switch.node)
  t=${SLURM_TOPOLOGY_ADDR%.*}; set -- "$@" --rack "${t##*.}"
  case $t in *.*) t=${t%.*}; set -- "$@" --switch "${t##*.}";; esac;;
esac
set -- "$@" --name "$SLURMD_NODENAME" --listen "$a:0"
`

// here starts the program $1 with the arguments from $3 on if its bytes there
// have the sum $2, and says so otherwise. Nothing of the user's shell is used.
const here = where + `p=$1 s=$2; shift 2
if [ -x "$p" ] && [ "$(sha256sum <"$p" 2>/dev/null)" = "$s  -" ]; then exec "$p" "$@"; fi
echo '{"absent":"'"$SLURMD_NODENAME"'"}'`

// brought starts the program $1, which sbcast has brought, after its name is
// removed: nothing of it stays, however it ends. /proc/self/exe still works.
const brought = where + `p=$1; shift; chmod 700 "$p" && exec 9<"$p" && rm -f "$p" && exec /proc/self/fd/9 "$@"`

// broughtDir is where sbcast puts the program: the only folder that each host has
// and each user may write to (FHS 3.0, 3.18).
const broughtDir = "/tmp"

// readyTime bounds how long agents may take until they are ready, from srun's
// start: the program comes over the network, and hosts may be busy.
const readyTime = 2 * time.Minute

const (
	// endTime bounds how long agents may take to end when their input does.
	endTime = 20 * time.Second
	// lostEndTime bounds it where a host is lost: srun waits for that one, and the
	// others need no longer than to end what runs there.
	lostEndTime = 3 * time.Second
)

// said is a line that comes from a host: an agent is ready, or the program is not
// there.
type said struct {
	agent.Ready
	Absent string `json:"absent"`
}

// parseSaid reads such a line; others are not ours.
func parseSaid(line string) (said, bool) {
	var s said
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &s) != nil {
		return s, false
	}
	return s, s.Absent != "" || s.Addr != "" && s.Name != ""
}

// Program is what runs on the hosts.
type Program struct {
	Path string   // here, and perhaps the same file there
	Args []string // how it becomes an agent that lives as long as its input
}

// sum is the program's SHA-256, as sha256sum(1) prints it.
func (p Program) sum() (string, error) {
	f, err := os.Open(p.Path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// step is agents that were started together.
type step struct {
	input io.Closer                 // theirs, with which they end
	wait  func(ctx context.Context) // until they have
}

// agents is all that runs on an allocation's hosts.
type agents struct {
	allocation *allocation
	keys       []byte // the agents', one line
	steps      []step
	heard      *tail // what else came from the hosts, the last time
}

// start starts agents on all hosts and returns those that are ready. Hosts on
// which none starts are left out, as long as there are others.
func (a *agents) start(ctx context.Context, p Program) ([]agent.Ready, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTime, fmt.Errorf("agents were not ready within %v", readyTime))
	defer cancel()
	sum, err := p.sum()
	if err != nil {
		return nil, err
	}
	hosts := a.allocation.hosts
	ready, absent, err := a.step(ctx, hosts, append([]string{"-c", here, "sh", a.allocation.where(), p.Path, sum}, p.Args...))
	if err != nil {
		return nil, err
	}
	if len(absent) == 0 {
		return ready, nil
	}
	there := path.Join(broughtDir, "ore-"+a.allocation.id+"-"+strings.ToLower(rand.Text()[:8]))
	if err := a.bring(ctx, p.Path, there); err != nil {
		return nil, err
	}
	more, _, err := a.step(ctx, absent, append([]string{"-c", brought, "sh", a.allocation.where(), there}, p.Args...))
	if err != nil && len(ready) == 0 {
		return nil, err
	}
	return append(ready, more...), nil
}

// where is the list of addresses that hosts are told.
func (a *allocation) where() string {
	var words []string
	for _, h := range a.hosts {
		if addr, ok := a.addrs[h]; ok {
			words = append(words, h+"="+addr.String())
		}
	}
	return strings.Join(words, " ")
}

// bring has Slurm put the program on all hosts.
func (a *agents) bring(ctx context.Context, from, to string) error {
	_, err := ask(ctx, "sbcast", "--jobid="+a.allocation.id, "--force", from, to)
	if err != nil {
		return fmt.Errorf("bring ore to the hosts: %w: see that %s is writable and has room there, or put ore where all hosts have it", err, broughtDir)
	}
	return nil
}

// step runs a shell on each of the hosts, with the keys as its input, and returns
// what they said.
func (a *agents) step(ctx context.Context, hosts, script []string) (ready []agent.Ready, absent []string, err error) {
	n := fmt.Sprint(len(hosts))
	cmd := exec.Command("srun", append([]string{
		"--jobid=" + a.allocation.id, "--overlap", "--no-kill", "--wait=0", "--kill-on-bad-exit=0",
		"--nodes=" + n, "--ntasks=" + n, "--ntasks-per-node=1", "--nodelist=" + strings.Join(hosts, ","),
		"--mem=0", "--cpu-bind=none", "--mpi=none", "--chdir=/", "--quiet", "/bin/sh"}, script...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	p, out, err := start(cmd, nil)
	if err != nil {
		return nil, nil, err
	}
	a.steps = append(a.steps, step{input: in, wait: func(ctx context.Context) { p.wait(ctx) }})
	c := chorus{size: len(hosts), lines: make(chan said, len(hosts)), said: p.said, fault: func() error {
		<-p.done
		return p.fault()
	}}
	go listen(out, c)
	if _, err := in.Write(a.keys); err != nil {
		return nil, nil, p.fault()
	}
	return a.hear(ctx, c)
}

// visited takes on the agents that the script of an allocation starts, which has
// come to this process's door, and returns those that are ready.
func (a *agents) visited(ctx context.Context, v *visitor) ([]agent.Ready, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTime, fmt.Errorf("agents were not ready within %v", readyTime))
	defer cancel()
	ended := make(chan struct{})
	a.steps = append(a.steps, step{input: ender{v}, wait: func(ctx context.Context) {
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}})
	size := len(a.allocation.hosts)
	heard := &tail{}
	c := chorus{size: size, lines: make(chan said, size), said: heard, fault: func() error {
		return explain("srun", errors.New("it ended"), heard.String())
	}}
	go func() {
		defer close(ended)
		listen(v, c)
	}()
	ready, _, err := a.hear(ctx, c)
	return ready, err
}

// ender ends what is written to a connection, and nothing else.
type ender struct{ *visitor }

// Close implements io.Closer.
func (e ender) Close() error { return e.CloseWrite() }

// chorus is what hosts say, each one line.
type chorus struct {
	size  int
	lines chan said    // has room for all
	said  *tail        // what else there is, from srun
	fault func() error // why there is no more
}

// hear returns what all hosts say, or those that do it in time.
func (a *agents) hear(ctx context.Context, c chorus) (ready []agent.Ready, absent []string, err error) {
	a.heard = c.said
	for len(ready)+len(absent) < c.size {
		select {
		case s, ok := <-c.lines:
			switch {
			case !ok: // all of it has ended
				if len(ready)+len(absent) > 0 {
					return ready, absent, nil
				}
				fault := c.fault()
				if over := a.allocation.over(); over != nil {
					return nil, nil, over
				}
				return nil, nil, fmt.Errorf("start ore on the hosts: %w", fault)
			case s.Absent != "":
				absent = append(absent, s.Absent)
			default:
				ready = append(ready, s.Ready)
			}
		case <-a.allocation.lease.done:
			return nil, nil, a.allocation.over()
		case <-ctx.Done():
			if len(ready) > 0 && context.Cause(ctx) != context.Canceled {
				return ready, absent, nil // the rest is slow or dead
			}
			return nil, nil, fmt.Errorf("start ore on the hosts: %w: %s", context.Cause(ctx), strings.TrimSpace(c.said.String()))
		}
	}
	return ready, absent, nil
}

// listen reads what comes from the hosts until there is no more. The channel has
// room for all that hear waits for, so that this never waits for it.
func listen(out io.ReadCloser, c chorus) {
	defer close(c.lines)
	defer out.Close()
	r := bufio.NewScanner(out)
	for r.Scan() {
		s, ok := parseSaid(r.Text())
		if !ok {
			fmt.Fprintln(c.said, r.Text())
			continue
		}
		select {
		case c.lines <- s:
		default: // a host that says more than one line
		}
	}
}

// end ends the agents: by the end of their input, so that each tidies its host.
// Those that have not ended in time are left to the end of the allocation.
func (a *agents) end(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for _, s := range a.steps {
		s.input.Close()
	}
	for _, s := range a.steps {
		s.wait(ctx)
	}
	a.steps = nil
}
