package site

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Dirs are the folders that a site keeps its state in.
type Dirs struct {
	Cache  string // what can be made again
	Images string // the image cache
	State  string // records of jobs, learned rates
	Run    string // jobs that run
}

// HomeVariable names the environment variable that puts all state below one folder.
const HomeVariable = "ORE_HOME"

// FindDirs returns the folders that the environment asks for. It makes none.
func FindDirs(getenv func(string) string) (Dirs, error) {
	if home := getenv(HomeVariable); home != "" {
		home, err := filepath.Abs(home)
		if err != nil {
			return Dirs{}, fmt.Errorf("%s: %w", HomeVariable, err)
		}
		return Dirs{
			Cache: filepath.Join(home, "cache"), Images: filepath.Join(home, "images"),
			State: filepath.Join(home, "state"), Run: filepath.Join(home, "run"),
		}, nil
	}
	home := getenv("HOME")
	if home == "" {
		return Dirs{}, errors.New("no folder for state: neither HOME nor ORE_HOME is set: set ORE_HOME to a folder of yours")
	}
	xdg := func(variable, otherwise string) string {
		if d := getenv(variable); filepath.IsAbs(d) { // the specification has relative ones ignored
			return filepath.Join(d, "ore")
		}
		return filepath.Join(home, otherwise, "ore")
	}
	d := Dirs{
		Cache:  xdg("XDG_CACHE_HOME", ".cache"),
		Images: filepath.Join(xdg("XDG_DATA_HOME", ".local/share"), "images"),
		State:  xdg("XDG_STATE_HOME", ".local/state"),
	}
	d.Run = filepath.Join(d.State, "run")
	return d, nil
}

// Make makes the folders. Only the owner may enter the one with the sockets.
func (d Dirs) Make() error {
	for _, p := range []struct {
		path string
		mode os.FileMode
	}{{d.Cache, 0o755}, {d.Images, 0o755}, {d.State, 0o700}, {d.Run, 0o700}} {
		if err := os.MkdirAll(p.path, p.mode); err != nil {
			return fmt.Errorf("make state folder: %w: set ORE_HOME to a folder that you can write to", err)
		}
	}
	return nil
}
