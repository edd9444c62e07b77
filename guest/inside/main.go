package inside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"ore/guest"
	"ore/guest/inside/system"
)

// launcherNames are the names under which this program launches.
func launcherNames() []string { return []string{"ore-rsh", "ssh", "rsh"} }

// linkLaunchers gives program the names of launchers in the folder bin.
func linkLaunchers(bin, program string) error {
	for _, name := range launcherNames() {
		err := os.Symlink(program, filepath.Join(bin, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// Main is the program ore-init. What it is depends on how it was started:
//
//   - as process 1 it is a machine's init, or a packed machine's;
//   - under the name ore-rsh, ssh or rsh it launches on another machine;
//   - as `ore-init serve FOLDER` it serves a host over descriptor 3 as an
//     ordinary process, with FOLDER/job and FOLDER/run in place of /job and
//     /run/ore; the identity is read from FOLDER/identity.json;
//   - as `ore-init ready FILE` it tells the home of a machine that installed
//     itself from the network that it is ready.
func Main() {
	name := filepath.Base(os.Args[0])
	switch {
	case os.Getpid() == 1 && exists(guest.IdentityPath):
		machine() // the first process of a PID namespace on a host is none
	case os.Getpid() == 1 && exists(system.PackedPath):
		packed()
	case slices.Contains(launcherNames(), name):
		os.Exit(rsh(name, os.Args[1:]))
	case len(os.Args) == 3 && os.Args[1] == "serve":
		if err := serveFolder(os.Args[2]); err != nil {
			fmt.Fprintf(os.Stderr, "ore-init: %v\n", err)
			os.Exit(1)
		}
	case len(os.Args) == 3 && os.Args[1] == "ready":
		if err := tellReady(os.Args[2]); err != nil {
			fmt.Fprintf(os.Stderr, "ore-init: %v\n", err)
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, "ore-init: not process 1: it is started by a machine's kernel, or as: ore-init serve FOLDER")
		os.Exit(2)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// homeFD is where `ore-init serve` finds home.
const homeFD = 3

func serveFolder(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := os.ReadFile(filepath.Join(dir, "identity.json"))
	if err != nil {
		return err
	}
	var id guest.Identity
	if err := json.Unmarshal(b, &id); err != nil {
		return fmt.Errorf("identity.json: %w", err)
	}
	layout := Layout{Job: filepath.Join(dir, "job"), Run: filepath.Join(dir, "run")}
	if err := syscall.SetNonblock(homeFD, true); err != nil {
		return fmt.Errorf("home: %w", err)
	}
	syscall.CloseOnExec(homeFD)
	err = Serve(ctx, os.NewFile(homeFD, "home"), id, layout)
	if ctx.Err() != nil {
		return nil
	}
	return err
}
