package site

import (
	"context"
	"embed"
	"errors"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/boot"
	"ore/cluster"
	"ore/node"
	"ore/site/driver"
)

//go:embed init
var initFiles embed.FS

// cloudKernel is the kernel that machines under QEMU get unless a job names
// another: it has what virtual machines need and little else.
const cloudKernel = "linux-image-cloud-amd64"

// BootConfig returns what package boot works with on this site.
func (s *Site) BootConfig(ctx context.Context, watch ore.Watcher) (boot.Config, error) {
	program, err := initFiles.ReadFile("init/ore-init")
	if err != nil {
		return boot.Config{}, errors.New("this ore was built without ore-init: build it with make")
	}
	sh, err := s.tools(ctx, watch)
	if err != nil {
		return boot.Config{}, err
	}
	return boot.Config{Dir: filepath.Join(s.Dirs.Cache, "boot"), Shelf: sh, Init: program}, nil
}

// prepare gets ready what the machines of a reservation start with.
func (s *Site) prepare(ctx context.Context, r cluster.Reservation, watch ore.Watcher) (node.Boot, error) {
	hypervisor, note, err := driver.Choose(r)
	if err != nil {
		return node.Boot{}, err
	}
	if note != "" {
		watch.Tell(ore.Event{Stage: "note", Text: note, Final: true})
	}
	c, err := s.BootConfig(ctx, watch)
	if err != nil {
		return node.Boot{}, err
	}
	b := node.Boot{Hypervisor: hypervisor}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		b.Disk, err = boot.Master(gctx, c, r.Machines.Disk)
		return err
	})
	g.Go(func() error {
		if hypervisor == "uml" {
			return s.prepareUML(gctx, c, &b, watch)
		}
		return s.prepareQEMU(gctx, c, kernelOf(r.Kernel), &b)
	})
	err = g.Wait()
	return b, err
}

// driver names the hypervisor of a reservation; what cannot be is said when the
// job is refused.
func (s *Site) driver(r cluster.Reservation) string {
	h, _, err := driver.Choose(r)
	if err != nil {
		return r.Machines.Hypervisor
	}
	return h
}

func (s *Site) prepareUML(ctx context.Context, c boot.Config, b *node.Boot, watch ore.Watcher) error {
	kernels, err := s.umlTools(ctx, watch)
	if err != nil {
		return err
	}
	c.UML = kernels
	u, err := boot.UML(ctx, c)
	if err != nil {
		return err
	}
	b.Program, b.Initrd, b.Release = []string{u.Program.Path}, u.Initrd, u.Kernel.Version
	b.Env = libraries(u.Program.Environ())
	b.Modules, err = u.Modules(ctx)
	return err
}

// libraries returns the one variable that a program of the shelf needs.
func libraries(env []string) []string {
	for _, e := range env {
		if strings.HasPrefix(e, "LD_LIBRARY_PATH=") {
			return []string{e}
		}
	}
	return nil
}

// Prepare gets ready on this host what machines of a reservation start with,
// wherever they are.
func (s *Site) Prepare(ctx context.Context, r cluster.Reservation, watch ore.Watcher) (node.Boot, error) {
	return s.prepare(ctx, r, watch)
}
