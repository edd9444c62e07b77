// Package results writes what a job brings home, in the folder
// ore-results/JOB:
//
//	result.json     the ore.Result
//	timeline.svg    the stages as bars, for people
//	trace.json      the same in Chrome's trace event format
//	RANK/stdout     what the rank's command printed
//	RANK/stderr
//	RANK/...        its outputs
//
// In an array a folder stands for a task and is called task-N. Output files are
// extracted below their own folder and nowhere else. result.json appears last
// and whole: where it is, the job is over, and it says whether all came home; its
// room is taken at the start. Who may read them is for the
// umask of whoever runs the job to say.
package results

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ore"
)

// Folder is the results of one job. It is safe for concurrent use by ranks.
type Folder struct {
	dir string
	res *os.File // the room for result.json until Finish, nil for none
}

// Create makes the folder of job below parent. A folder that exists already is
// an error matching fs.ErrExist, since results are never overwritten.
func Create(parent, job string) (*Folder, error) {
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return nil, fmt.Errorf("make results folder: %w: name another folder with --results", err)
	}
	dir, err := filepath.Abs(filepath.Join(parent, job))
	if err != nil {
		return nil, fmt.Errorf("make results folder: %w", err)
	}
	if err := os.Mkdir(dir, 0o777); err != nil {
		return nil, fmt.Errorf("make results folder: %w: name another folder with --results", err)
	}
	res, err := reserve(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make results folder: %w", Full(err)), os.Remove(dir))
	}
	return &Folder{dir: dir, res: res}, nil
}

// Dir returns the folder's path.
func (f *Folder) Dir() string { return f.dir }

// Part returns the folder of one rank or task, making it if need be.
func (f *Folder) Part(name string) (string, error) {
	dir := filepath.Join(f.dir, name)
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make results folder: %w", Full(err))
	}
	return dir, nil
}

// Finish writes the timeline and then the result, each as far as there is room
// for it; result.json has its own. It is called once.
func (f *Folder) Finish(r ore.Result) error {
	trace, err := Trace(r.Timeline)
	if err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	var errs []error
	for _, file := range []struct {
		name    string
		content []byte
	}{{"trace.json", trace}, {"timeline.svg", SVG(r)}, {"result.json", append(b, '\n')}} {
		if err := f.write(file.name, file.content); err != nil {
			errs = append(errs, fmt.Errorf("write result: %w", Full(err)))
		}
	}
	return errors.Join(errs...)
}

// write writes a file whole, result.json into its own room if it has one.
func (f *Folder) write(name string, content []byte) error {
	if name == "result.json" && f.res != nil && writeReserved(f.res, content) == nil {
		return nil
	}
	return WriteWhole(filepath.Join(f.dir, name), content)
}

// Load reads the result.json in dir.
func Load(dir string) (ore.Result, error) {
	var r ore.Result
	b, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if err != nil {
		return r, fmt.Errorf("read result: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("read result %s: %w", dir, err)
	}
	return r, nil
}
