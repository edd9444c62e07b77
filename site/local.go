package site

import (
	"context"
	"fmt"

	"ore"
	"ore/cluster"
	"ore/node"
	"ore/site/ledger"
	"ore/site/supervisor"
)

// local is the engine of one host: this one.
type local struct {
	site *Site
	// keep has the supervisor outlive this process, for machines that are kept.
	keep  bool
	watch ore.Watcher
}

var _ cluster.Engine = (*local)(nil)

// Reserve starts the job's supervisor and gets ready what machines start with.
func (l *local) Reserve(ctx context.Context, r cluster.Reservation) ([]cluster.Host, error) {
	prepared, err := l.site.prepare(ctx, r, l.watch)
	if err != nil {
		return nil, err
	}
	sup, err := supervisor.Start(ctx, supervisor.Job{
		ID: r.Job, Folder: l.site.Folder(r.Job), Images: l.site.Dirs.Images, Keep: l.keep,
	})
	if err != nil {
		return nil, err
	}
	h := cluster.Host{Node: sup, Boot: prepared}
	for i := range r.Machines.Count {
		h.Machines = append(h.Machines, node.Machine{Name: cluster.MachineName(i), Rank: i})
	}
	return []cluster.Host{h}, nil
}

// Attach returns a client of a job's node.
func (s *Site) Attach(r ledger.Record) (*node.Client, error) {
	if running := s.State(r) == ledger.Running; !running || !s.Supervised(r.ID) {
		if running {
			return nil, fmt.Errorf("job %s: no machine of it runs on this host, or not yet: see 'ore jobs show %s'", r.ID, r.ID)
		}
		if r.Result != nil && r.Result.Error != "" {
			return nil, fmt.Errorf("job %s: it does not run any more: %s", r.ID, r.Result.Error)
		}
		return nil, fmt.Errorf("job %s: it does not run: see 'ore jobs ls'", r.ID)
	}
	return node.NewClient(supervisor.Socket(s.Folder(r.ID))), nil
}
