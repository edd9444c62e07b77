package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"ore"
	"ore/deb"
	"ore/guest"
)

// aptFile and aptKey are where machines find the mirror of their base.
const (
	aptFile = "/etc/apt/sources.list.d/ore.sources"
	aptKey  = "/etc/apt/keyrings/ore-mirror"
)

// own returns what machines of j are given beside their image: sources for apt
// (sources.list(5)), so that a machine which is kept can be given more packages.
// They are the mirror that was named, or those of the host's apt configuration.
// No image has them, since which mirror was near does not belong to an environment.
func (a *app) own(j ore.Job) ([]guest.File, error) {
	return aptFiles(j.Network, deb.Config{Base: j.Wants.Base, Mirror: a.mirror, Keyring: a.keyring})
}

// aptFiles returns the files that tell apt of the base's sources.
func aptFiles(network ore.Network, c deb.Config) ([]guest.File, error) {
	if network != ore.NAT {
		return nil, nil
	}
	sources, err := c.BaseSources()
	if err != nil {
		// Whoever needs a mirror says so: machines of an image that is here need none.
		if errors.Is(err, deb.ErrNoMirror) {
			err = nil
		}
		return nil, err
	}
	var files []guest.File
	signed := ""
	if c.Keyring != "" {
		key, err := os.ReadFile(c.Keyring)
		if err != nil {
			return nil, fmt.Errorf("keyring: %w: correct --keyring", err)
		}
		name := aptKey + ".gpg"
		if bytes.HasPrefix(bytes.TrimSpace(key), []byte("-----BEGIN")) {
			name = aptKey + ".asc"
		}
		files = append(files, guest.File{Path: name, Mode: 0o644, Content: key})
		signed = "Signed-By: " + name + "\n"
	}
	var entries []string
	for _, s := range sources {
		if forMachines(s.URI) {
			entries = append(entries, fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n%s", s.URI, s.Suite, strings.Join(s.Components, " "), signed))
		}
	}
	if len(entries) == 0 {
		return nil, nil
	}
	return append(files, guest.File{Path: aptFile, Mode: 0o644, Content: []byte(strings.Join(entries, "\n"))}), nil
}

// forMachines says whether a mirror may be told to machines and is of use there:
// not one whose address holds the user's password, and none on this host alone.
func forMachines(mirror string) bool {
	u, err := url.Parse(mirror)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(mirror, " \t\n") {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() != "" && u.Hostname() != "localhost" && (ip == nil || ip.IsGlobalUnicast())
}
