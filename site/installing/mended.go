package installing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ore"
	"ore/cluster"
	"ore/image"
	"ore/install/recipe"
	"ore/job"
	"ore/node"
	"ore/node/installing"
	"ore/site"
	"ore/site/given"
	"ore/site/inputs"
)

// mended are the files and steps that have taken the place of those with which the
// machines of a job failed. They are kept in the job's folder, and go with it.
type mended struct {
	Files []ore.File
	Steps []ore.Step
}

// mendedName is the file of a job's folder that holds a mended.
const mendedName = "mended.json"

// Mend has the machines of the job id go on with the files and steps of another
// description, from the next Resume on. Their disks and all that is on them are of
// the first one, so that nothing else of it may differ; what does is named in the
// error. It returns the names of the steps that differ or are new.
func Mend(s *site.Site, id string, kept json.RawMessage, j ore.Job) ([]string, error) {
	k, err := remember(id, kept)
	if err != nil {
		return nil, err
	}
	if k.From == recipe.Whole || k.From == recipe.Disk {
		return nil, fmt.Errorf("these machines install an image, in which files and steps are already: end them with 'ore down %s', and start them anew", id)
	}
	j.Machines.Root = k.Job.Machines.Root
	Complete(&j)
	if differs := differences(k.Job, j); len(differs) > 0 {
		return nil, fmt.Errorf("other %s than when the machines of %s were started: only files and steps can be mended: end them with 'ore down %s', and start them anew", strings.Join(differs, ", "), id, id)
	}
	if _, err := job.SortSteps(j.Wants.Steps); err != nil {
		return nil, err
	}
	was, err := mendedBefore(s, id)
	if err != nil {
		return nil, err
	}
	if was == nil {
		was = &mended{Steps: k.Job.Wants.Steps}
	}
	b, err := json.Marshal(mended{j.Wants.Files, j.Wants.Steps})
	if err != nil {
		return nil, err
	}
	return otherSteps(was.Steps, j.Wants.Steps), write(filepath.Join(s.Folder(id), mendedName), b)
}

// differences names what of two descriptions, beside files and steps, differs that
// is on machines' disks.
func differences(was, is ore.Job) []string {
	var all []string
	for _, c := range []struct {
		name    string
		was, is any
	}{
		{"environment.base", was.Wants.Base, is.Wants.Base},
		{"environment.packages", was.Wants.Packages, is.Wants.Packages},
		{"environment.repositories", was.Wants.Repositories, is.Wants.Repositories},
		{"environment.kernel", was.Wants.Kernel, is.Wants.Kernel},
		{"machines.disks", was.Machines.Storage, is.Machines.Storage},
		{"machines.system", was.Machines.System, is.Machines.System},
	} {
		if !same(c.was, c.is) {
			all = append(all, c.name)
		}
	}
	return all
}

// same says whether two values are written the same way: lists without entries are
// one, whether or not they are nil.
func same(a, b any) bool {
	one, err := json.Marshal(a)
	two, also := json.Marshal(b)
	empty := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(":[]"), []byte(":null")) }
	return err == nil && also == nil && bytes.Equal(empty(one), empty(two))
}

// otherSteps names the steps that are not what they were.
func otherSteps(was, is []ore.Step) []string {
	var names []string
	for _, s := range is {
		if !slices.ContainsFunc(was, func(w ore.Step) bool { return same(w, s) }) {
			names = append(names, s.Name)
		}
	}
	return names
}

// write writes a file, which appears whole.
func write(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// mendedBefore returns what Mend has kept, nil for nothing.
func mendedBefore(s *site.Site, id string) (*mended, error) {
	b, err := os.ReadFile(filepath.Join(s.Folder(id), mendedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("what was mended of %s: %w", id, err)
	}
	var d mended
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("what was mended of %s: %w: end it with 'ore down %s'", id, err, id)
	}
	return &d, nil
}

// mend returns how machines go on by m, with other files and steps.
func (m Maker) mend(d mended) cluster.Install {
	return func(ctx context.Context, img image.Manifest, machines []node.Machine) (*installing.Order, func() error, error) {
		first := img.Environment
		var err error
		if img.Environment.Files, _, err = given.Lock(ctx, m.Site.Cache.Store, inputs.MemoOf(filepath.Join(m.Site.Dirs.Cache, "inputs")), d.Files); err != nil {
			return nil, nil, err
		}
		if img.Environment.Steps, err = job.SortSteps(d.Steps); err != nil {
			return nil, nil, err
		}
		img.Environment.Sort()
		img.Key = img.Environment.Key()
		m.Job.Wants.Files, m.Job.Wants.Steps = d.Files, d.Steps
		if img.Key != first.Key() {
			m.begun = &first
		}
		return m.order(ctx, img, machines)
	}
}

// begin says by which recipe the disks were made of a machine that goes on by r.
func (m Maker) begin(r *recipe.Recipe) {
	if r.Begun = ""; m.begun != nil {
		was := *r
		was.Environment = *m.begun
		r.Begun = was.Digest()
	}
}
