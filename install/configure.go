package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"ore/install/dpkg"
	"ore/install/guard"
	"ore/install/output"
	"ore/install/sandbox"
	"ore/install/sandbox/instead"
	"ore/install/standin"
)

// scriptDir is where dpkg keeps the control member of a package while its
// preinst runs; debconf looks for it there.
const scriptDir = dpkg.Dir + "/tmp.ci"

// environment returns what scripts and steps find in their environment.
func (w *worker) environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb",
		"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true",
		"PYTHONHASHSEED=0", // Python's compiled files depend on it
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(w.epoch, 10),
	}
}

// configure runs dpkg --configure for the packages, or for all that are
// pending, and marks them as configured.
func (p *phase) configure(ctx context.Context, packages []*dpkg.Package) error {
	return guard.Services(p.root, func() error {
		others, err := p.standIns()
		if err != nil {
			return err
		}
		args := []string{"dpkg", "--configure"}
		for _, q := range packages {
			args = append(args, q.Spec())
		}
		if len(packages) == 0 {
			args = append(args, "--pending")
		}
		out := &output.Lines{Watch: p.watch, Stage: "configure", Mark: "Setting up "}
		err = p.sb.Run(ctx, sandbox.Command{
			Root: p.root, Args: args, Env: p.environment(), Stdout: out, Stderr: out, Instead: others,
		})
		if err != nil {
			return fmt.Errorf("configure packages: %w: the output ends with:\n%s", err, out.Tail())
		}
		for _, q := range packages {
			p.configured[q.Spec()] = true
		}
		return nil
	})
}

// standIns returns the programs that stand in for some of the tree's while
// scripts run.
func (p *phase) standIns() (set instead.Set, err error) {
	set.Programs, err = standin.Write(p.path("standin"), p.root)
	if p.overlaid() {
		set.Programs, set.Lend = append(set.Programs, p.others.Programs...), p.others.Lend
	}
	return set, err
}

// preinst runs the preinst scripts of packages as dpkg does for a first
// installation (Policy 6.5), in the given order.
func (p *phase) preinst(ctx context.Context, packages []*dpkg.Package) error {
	return guard.Services(p.root, func() error {
		others, err := p.standIns()
		if err != nil {
			return err
		}
		for _, q := range packages {
			if err := p.preinstOf(ctx, q, others); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *phase) preinstOf(ctx context.Context, q *dpkg.Package, others instead.Set) (err error) {
	dir := filepath.Join(p.root, scriptDir)
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("preinst of %s: %w", q.Spec(), err)
	}
	for name, content := range q.Files {
		if err := os.WriteFile(filepath.Join(dir, name), content, fs.FileMode(dpkg.ScriptMode(name))); err != nil {
			return fmt.Errorf("preinst of %s: %w", q.Spec(), err)
		}
	}
	out := &output.Lines{Watch: p.watch, Stage: "unpack"}
	err = p.sb.Run(ctx, sandbox.Command{
		Root: p.root,
		Args: []string{"/" + scriptDir + "/preinst", "install"},
		Env: append(p.environment(),
			"DPKG_MAINTSCRIPT_PACKAGE="+q.Name, "DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1",
			"DPKG_MAINTSCRIPT_ARCH="+q.Arch, "DPKG_MAINTSCRIPT_NAME=preinst",
			"DPKG_ADMINDIR=/"+dpkg.Dir, "DPKG_ROOT=", "DPKG_RUNNING_VERSION="+dpkgVersion),
		Stdout: out, Stderr: out, Instead: others,
	})
	if err != nil {
		return fmt.Errorf("preinst of %s: %w: the output ends with:\n%s", q.Spec(), err, out.Tail())
	}
	return nil
}

// dpkgVersion is the version of dpkg's behaviour that we have when we unpack.
const dpkgVersion = "1.21.22"
