package site

import (
	"context"

	"ore/boot"
	"ore/deb/shelf"
	"ore/node"
)

// prepareQEMU gets ready what machines under QEMU start with: the host's own
// QEMU if it has one, else the archive's.
func (s *Site) prepareQEMU(ctx context.Context, c boot.Config, kernel string, b *node.Boot) error {
	q, err := boot.QEMU(ctx, c, kernel)
	if err != nil {
		return err
	}
	program := shelf.Host("qemu-system-x86_64")
	if program == nil {
		if program, err = c.Shelf.Program(ctx, "qemu-system-x86", "usr/bin/qemu-system-x86_64"); err != nil {
			return err
		}
	}
	b.Program, b.Env = []string{program.Path}, libraries(program.Environ())
	b.Initrd, b.Release = q.Initrd, q.Kernel.Version
	b.Kernel = q.Kernel.Vmlinux
	if b.Kernel == "" {
		b.Kernel = q.Kernel.Path
	}
	b.Modules, err = q.Modules(ctx)
	return err
}
