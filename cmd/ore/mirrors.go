package main

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"ore"
	"ore/guest"
)

// aptFile and aptKey are where machines find the mirror of their base.
const (
	aptFile = "/etc/apt/sources.list.d/ore.sources"
	aptKey  = "/etc/apt/keyrings/ore-mirror"
)

// own returns what machines of j are given beside their image: a source for apt
// (sources.list(5)), so that a machine which is kept can be given more packages.
// No image has it, since which mirror was near does not belong to an environment.
func (a *app) own(j ore.Job) ([]guest.File, error) {
	if j.Network != ore.NAT || !forMachines(a.mirror) {
		return nil, nil
	}
	text := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n", a.mirror, j.Wants.Base.Suite)
	if a.keyring == "" {
		return []guest.File{{Path: aptFile, Mode: 0o644, Content: []byte(text)}}, nil
	}
	key, err := os.ReadFile(a.keyring)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w: correct --keyring", err)
	}
	name := aptKey + ".gpg"
	if bytes.HasPrefix(bytes.TrimSpace(key), []byte("-----BEGIN")) {
		name = aptKey + ".asc"
	}
	return []guest.File{
		{Path: name, Mode: 0o644, Content: key},
		{Path: aptFile, Mode: 0o644, Content: []byte(text + "Signed-By: " + name + "\n")},
	}, nil
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
