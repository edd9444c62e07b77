package namespace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// probeVariable tells Enter that the process was only started to see whether
// it can be.
const probeVariable = "ORE_NAMESPACE_PROBE"

// Ability says whether one set of namespaces works on this host, for this
// user, and what to do if it does not.
type Ability struct {
	Name  string // what it is for
	Works bool
	Why   string // why it does not, and what to do; "" if it does
}

// Probe tries what the rest of the program uses and says what works.
func Probe(ctx context.Context) []Ability {
	jobs := PID | Mount
	if os.Geteuid() != 0 {
		jobs |= User
	}
	return []Ability{
		probe(ctx, "processes of a job end together", Options{Kinds: jobs, IDs: Keep}),
		probe(ctx, "user namespace with one id", Options{Kinds: User | PID | Mount | Net | IPC | UTS, IDs: AsRoot}),
		probe(ctx, "user namespace with subordinate ids", Options{Kinds: User | PID | Mount | Net | IPC | UTS, IDs: Ranges}),
	}
}

func probe(ctx context.Context, name string, o Options) Ability {
	o.Env = append(os.Environ(), probeVariable+"=1")
	p, err := Start(ctx, o)
	if err == nil {
		err = p.Wait()
	}
	if err != nil {
		return Ability{Name: name, Why: err.Error()}
	}
	return Ability{Name: name, Works: true}
}

// explain adds to an error of the kernel what is known to cause it here.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		if why := deniedBy(); why != "" {
			return fmt.Errorf("%w: %s", err, why)
		}
		return fmt.Errorf("%w: a container or a security module forbids it: run on the host itself, or let the container's profile allow user namespaces and mounts", err)
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS):
		return fmt.Errorf("%w: the limit on namespaces is reached: let the administrator raise the sysctls user.max_user_namespaces, user.max_pid_namespaces and user.max_mnt_namespaces", err)
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: this kernel was built without such namespaces: use one with CONFIG_USER_NS and CONFIG_PID_NS", err)
	}
	return err
}

// deniedBy looks at the switches by which distributions forbid user namespaces
// to ordinary users.
func deniedBy() string {
	if os.Geteuid() == 0 {
		return ""
	}
	for _, s := range []struct{ name, denies string }{
		{"kernel/unprivileged_userns_clone", "0"},
		{"kernel/apparmor_restrict_unprivileged_userns", "1"},
		{"user/max_user_namespaces", "0"},
	} {
		b, err := os.ReadFile("/proc/sys/" + s.name)
		if err == nil && strings.TrimSpace(string(b)) == s.denies {
			return fmt.Sprintf("the sysctl %s is %s: let the administrator change it",
				strings.ReplaceAll(s.name, "/", "."), s.denies)
		}
	}
	return ""
}
