package figures

import (
	"context"
	"errors"
	"net"

	"ore"
	"ore/cluster"
	"ore/deb"
	"ore/image"
	"ore/job"
	"ore/site"
	"ore/site/installing"
)

// wanted opens the site, and makes the job of machines that install packages.
func (sh *Shell) wanted(ctx context.Context, packages []string) (*site.Site, ore.Job, error) {
	j := job.Default(deb.HostSuite())
	j.Machines.Root = ore.OnDisk
	for _, p := range packages {
		j.Wants.Packages = append(j.Wants.Packages, ore.Wish{Name: p})
	}
	installing.Complete(&j)
	s, err := sh.Open(ctx)
	return s, j, err
}

// hypervisor is what machines run under, everywhere.
const hypervisor = "uml"

// prepare makes the image that machines install and the installer, and gets what
// machines are started with: the hosts of a test bed reach no mirror.
func (sh *Shell) prepare(ctx context.Context, packages []string) (img image.Manifest, err error) {
	s, j, err := sh.wanted(ctx, packages)
	if err != nil {
		return img, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	_, release, err := installing.Image(ctx, s, sh.note)
	if err != nil {
		return img, err
	}
	release()
	j.Machines.Hypervisor = hypervisor
	if _, err := s.Prepare(ctx, cluster.Reservation{Machines: j.Machines}, sh.note); err != nil {
		return img, err
	}
	return s.Build(ctx, j.Wants, sh.note)
}

// note shows what is worth a line.
func (sh *Shell) note(e ore.Event) {
	if e.Final && e.Text != "" {
		sh.say("%s: %s", e.Stage, e.Text)
	}
}

// serve is a depot for machines that install packages, until ctx ends.
func (sh *Shell) serve(ctx context.Context, packages []string, l net.Listener, link *installing.Link) (err error) {
	s, j, err := sh.wanted(ctx, packages)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	img, err := s.Build(ctx, j.Wants, nil)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return installing.Maker{Site: s, Job: j}.Serve(ctx, l, img, link)
}
