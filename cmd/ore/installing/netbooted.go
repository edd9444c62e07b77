package installing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ore/install/configure"
	"ore/install/drivers"
	"ore/install/machine"
	"ore/install/recipe"
	"ore/install/restart"
	"ore/netboot"
	"ore/netboot/client"
	"ore/plan"
)

const (
	// netbootedWord is the hidden command that a packed machine's process 1 runs.
	netbootedWord = "netbooted"
	// onlineTime is how long a machine may take to get onto its network: switches
	// that look for loops let nothing pass for most of a minute.
	onlineTime = 3 * time.Minute
)

// Netbooted returns the command that a machine runs which came whole over the
// network: it gets onto the network, runs the installer, and goes into what that
// installed. It returns only if something went wrong.
func Netbooted(out, complain io.Writer) *cobra.Command {
	var identity string
	c := &cobra.Command{
		Use: netbootedWord, Hidden: true, Args: cobra.NoArgs,
		Short: "Install this machine, which booted from the network, and restart it: what is on its disks may be lost",
		RunE: func(c *cobra.Command, _ []string) error {
			if os.Getppid() != 1 {
				return errors.New("netbooted: this machine was not booted for it: it is started by process 1 of a machine that came over the network")
			}
			more, release := otherConsoles("/")
			defer release()
			n := netbooted{identity: identity, out: io.MultiWriter(append(more, out)...), complain: io.MultiWriter(append(more, complain)...)}
			if err := n.install(c.Context()); err != nil {
				return err
			}
			return n.leave()
		},
	}
	c.Flags().StringVar(&identity, "identity", "", "`file` with what the server said of this machine")
	return c
}

type netbooted struct {
	identity      string
	out, complain io.Writer
}

func (n netbooted) say(format string, args ...any) { fmt.Fprintf(n.out, "ore: "+format+"\n", args...) }

// install gets onto the network and runs the installer, which reports home.
func (n netbooted) install(ctx context.Context) error {
	b, err := os.ReadFile(n.identity)
	if err != nil {
		return fmt.Errorf("netbooted: %w", err)
	}
	var who netboot.Identity
	if err := json.Unmarshal(b, &who); err != nil {
		return fmt.Errorf("netbooted: %s: %w", n.identity, err)
	}
	n.say("%s: installs itself", who.Name)
	drivers.Load(ctx, "/", nil)
	online, cancel := context.WithTimeout(ctx, onlineTime)
	defer cancel()
	l, err := client.Up(online, who.MAC)
	if err == nil {
		err = l.WriteResolver("/")
	}
	if err != nil {
		return err
	}
	n.say("%s has %s", l.Interface, l.Address)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, self, installerWord, "--identity", n.identity)
	c.Stderr = n.complain
	reports, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	n.show(reports)
	return c.Wait()
}

// show shows of reports, until they end, what people want to see on a screen.
func (n netbooted) show(reports io.Reader) {
	for in := json.NewDecoder(reports); ; {
		var r recipe.Report
		if in.Decode(&r) != nil {
			break
		}
		switch {
		case r.Event == recipe.Start && r.Text == "":
			n.say("%s", r.Stage)
		case r.Event == recipe.Start:
			n.say("%s: %s", r.Stage, r.Text)
		case r.Event == recipe.Fail:
			n.say("%s failed: %s", r.Stage, r.Text)
		}
	}
	io.Copy(io.Discard, reports) // whoever writes is not to wait, whatever it writes
}

// otherConsoles are those that /dev/console is not: it is the last of the active
// ones (Documentation/ABI/testing/sysfs-tty), and somebody may look at another.
func otherConsoles(root string) (all []io.Writer, release func()) {
	b, _ := os.ReadFile(filepath.Join(root, "sys/class/tty/console/active"))
	names := strings.Fields(string(b))
	var files []*os.File
	for _, name := range names[:max(len(names)-1, 0)] {
		f, err := os.OpenFile(filepath.Join(root, "dev", filepath.Base(name)), os.O_WRONLY|unix.O_NOCTTY, 0)
		if err != nil {
			continue // one that cannot be opened shows nothing, which is no fault of the machine
		}
		files, all = append(files, f), append(all, f)
	}
	return all, func() {
		for _, f := range files {
			f.Close()
		}
	}
}

// leave goes into the installed system: straight, if the installer has loaded
// its kernel, else through the firmware, which starts it from the disk since the
// server tells it to.
func (n netbooted) leave() error {
	if loaded, err := os.ReadFile("/sys/kernel/kexec_loaded"); err == nil && strings.TrimSpace(string(loaded)) == "1" {
		n.say("goes straight into what was installed")
		n.say("%v", restart.Kexec())
	}
	n.say("restarts from the disk")
	return restart.Reboot()
}

// Where an installed machine keeps what tells home that it is ready, and how it
// is run: by systemd, when the machine is on its network.
const (
	readyProgram = "usr/local/lib/ore/ore-init"
	readyFile    = "var/lib/ore/ready.json"
	readyUnit    = "etc/systemd/system/ore-ready.service"
	readyWanted  = "etc/systemd/system/multi-user.target.wants/ore-ready.service"
	readyText    = `[Unit]
Description=Tell who installed this machine that it is ready
Wants=network-online.target
After=network-online.target
ConditionPathExists=/` + readyFile + `

[Service]
Type=oneshot
ExecStart=/` + readyProgram + ` ready /` + readyFile + `

[Install]
WantedBy=multi-user.target
`
	// initProgram is where a packed machine has its process 1.
	initProgram = "/run/ore/bin/ore-init"
)

// next returns what an installer of a machine that booted from the network does
// last, while the machine's files are still mounted: it has the installed system
// tell home that it is ready, and loads that system's kernel where the running one
// can go straight into it. It says how the machine starts.
func next(home string) func(target string, s configure.Start) (string, error) {
	return func(target string, s configure.Start) (string, error) {
		if err := leaveWord(target, initProgram, home); err != nil {
			return "", fmt.Errorf("have the machine say when it is ready: %w", err)
		}
		return kexec{restart.Possible, restart.Load}.starts(target, s), nil
	}
}

// kexec is how the running kernel goes into another one.
type kexec struct {
	possible func() error
	load     func(restart.Next) error
}

// starts loads the kernel of the system in target, and says how the machine starts it:
// by kexec or, with the reason, through its firmware, which whatever fails here leaves.
func (k kexec) starts(target string, s configure.Start) string {
	err := k.possible()
	switch {
	case err != nil:
	case s.Kernel == "":
		err = errors.New("it has no kernel in /boot that could be loaded")
	default:
		n := restart.Next{Kernel: filepath.Join(target, s.Kernel), Arguments: s.Arguments}
		if s.Initrd != "" {
			n.Initrd = filepath.Join(target, s.Initrd)
		}
		err = k.load(n)
	}
	if err != nil {
		return machine.Clip(plan.ByFirmware + ": " + err.Error())
	}
	return plan.ByKexec
}

// directly says how a machine starts again whose hypervisor starts what is on its disk,
// by whether its kernel could go into another one.
func directly(possible error) string {
	if possible != nil {
		return plan.Directly + ": this hypervisor has no kexec"
	}
	return plan.Directly
}

// leaveWord writes below target what tells home. Links in the tree lead nowhere
// outside of it.
func leaveWord(target, program, home string) error {
	root, err := os.OpenRoot(target)
	if err != nil {
		return err
	}
	defer root.Close()
	code, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	secret, err := json.Marshal(map[string]string{"home": home})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path    string
		mode    fs.FileMode
		content []byte
	}{{readyProgram, 0o755, code}, {readyFile, 0o400, secret}, {readyUnit, 0o644, []byte(readyText)}} {
		if err := root.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return err
		}
		if err := root.RemoveAll(f.path); err != nil {
			return err
		}
		if err := root.WriteFile(f.path, f.content, f.mode); err != nil {
			return err
		}
	}
	if err := root.MkdirAll(filepath.Dir(readyWanted), 0o755); err != nil {
		return err
	}
	if err := root.RemoveAll(readyWanted); err != nil {
		return err
	}
	return root.Symlink("/"+readyUnit, readyWanted)
}
