package netboot

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"ore"
	"ore/boot"
	"ore/netboot/link"
	"ore/netboot/relay"
	"ore/netboot/roster"
)

const (
	// maxLine is the longest line of a report: its text, escaped.
	maxLine = 32 << 10
	// maxReport is how long one report may go on; the machine begins another.
	maxReport = 64 << 20
	// maxAsked stops counting; it only says whether a machine asks again.
	maxAsked = 1 << 20
)

// Identity is /ore/netboot.json, what an installer is told of itself.
type Identity struct {
	MAC    link.MAC   `json:"mac"`
	Name   string     `json:"name"`
	Home   string     `json:"home"`   // URL that reports are posted to
	Blobs  string     `json:"blobs"`  // URL to which a digest is appended
	System ore.Digest `json:"system"` // what the machine becomes
	Chain  string     `json:"chain"`  // URL to which a digest is appended, for package relay
	Recipe []byte     `json:"recipe,omitempty"`
}

// IdentityPath is where an installer finds its Identity.
const IdentityPath = "ore/netboot.json"

// Here stands in a recipe for the address of the server that sends it: where a
// recipe is made, that is not known. The server puts its own in its place.
// Nobody has a name that ends in .invalid (RFC 2606, section 2).
const Here = "http://netboot.invalid"

// Mine is Here for what only the machine may ask that the recipe is sent to: the
// server puts the secret of its try behind it, and takes it away again before it hands
// a request to Rest, which learns by [Asks] who it is.
const Mine = Here + minePath

const minePath = "/mine"

// asking is the key, in a request's context, of who asks.
type asking struct{}

// Asks is the name of the machine that has proved to be who asks for what Rest is asked
// for, "" for nobody.
func Asks(r *http.Request) string {
	name, _ := r.Context().Value(asking{}).(string)
	return name
}

// Blob returns the address, in a recipe, at which the server gives a blob.
func Blob(d ore.Digest) string { return Here + "/blob/" + string(d) }

// handler routes what iPXE and installers ask.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /boot/{mac}", s.script)
	mux.HandleFunc("GET /blob/{digest}", s.blob)
	mux.HandleFunc("GET /loader/{name}", s.loader)
	mux.HandleFunc("GET /identity/{token}", s.identity)
	mux.HandleFunc("POST /report/{token}", s.report)
	mux.Handle(relay.Pattern, s.chain)
	if s.config.Rest != nil {
		mux.HandleFunc(minePath+"/{token}/", s.mine)
		mux.Handle("/", s.config.Rest)
	}
	return mux
}

// script answers a machine that asks what to do.
func (s *Server) script(w http.ResponseWriter, r *http.Request) {
	card, err := link.ParseMAC(r.PathValue("mac"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	asked, _ := strconv.Atoi(r.FormValue("asked"))
	asked = min(max(asked, 0), maxAsked)
	m, token, err := s.roster.Ask(s.caller(card, r), time.Now())
	if err != nil {
		s.tell(card.String(), err.Error())
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	var text string
	step := m.Next()
	switch {
	case step == roster.Install:
		text, err = s.install(m, token)
	case step == roster.Local || time.Duration(asked)*askEvery >= s.config.Hold:
		text = localScript()
	default:
		text = waitScript(s.base, m, asked)
	}
	if err != nil {
		s.tell(m.Name, err.Error())
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if asked == 0 || step != roster.Wait {
		s.tell(called(m), fmt.Sprintf("asks what to boot (%s): %s", m.Firmware, map[roster.Step]string{
			roster.Wait: "it waits, being " + string(m.State), roster.Install: "it gets the installer", roster.Local: "it boots from its disk"}[step]))
	}
	w.Header().Set("Content-Type", "text/plain; charset=us-ascii")
	io.WriteString(w, text)
}

// called is what a machine is called where people read.
func called(m roster.Machine) string {
	if m.Name != "" {
		return m.Name
	}
	return m.MAC.String()
}

// caller gathers who asks: iPXE's question has only the card's address in it,
// the rest is known from DHCP.
func (s *Server) caller(card link.MAC, r *http.Request) roster.Caller {
	c := roster.Caller{MAC: card}
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.Address = a.Addr().Unmap()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.callers[card]; ok {
		c.Firmware, c.UUID = k.Arch.String(), k.UUID
	}
	return c
}

func (s *Server) install(m roster.Machine, token string) (string, error) {
	system, ok, err := s.roster.System(m.Want)
	if err == nil && !ok {
		err = fmt.Errorf("machine %s: its system %s is not known any more: assign it again", called(m), m.Want.Short())
	}
	if err != nil {
		return "", err
	}
	return installScript(s.base, token, m, system), nil
}

// blob gives a file by digest.
func (s *Server) blob(w http.ResponseWriter, r *http.Request) {
	d, err := ore.ParseDigest(r.PathValue("digest"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f, err := s.config.Blob(r.Context(), d)
	if err != nil {
		s.refuse(w, r, d.Short(), err)
		return
	}
	defer f.Close()
	w.Header().Set("ETag", `"`+d.Hex()+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
}

// loader gives iPXE to firmware that loads by HTTP.
func (s *Server) loader(w http.ResponseWriter, r *http.Request) {
	path, ok := s.loaders()[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/efi") // UEFI 2.10, section 24.7.2
	http.ServeFile(w, r, path)
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, what string, err error) {
	if r.Context().Err() != nil {
		return
	}
	code := http.StatusInternalServerError
	if errors.Is(err, fs.ErrNotExist) {
		code = http.StatusNotFound
	}
	s.tell("", fmt.Sprintf("%s: %v", what, err))
	http.Error(w, http.StatusText(code), code)
}

// identity gives the initramfs of one try.
func (s *Server) identity(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("token")
	m, err := s.roster.Holder(token)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	system, ok, err := s.roster.System(m.Want)
	if err != nil || !ok {
		s.refuse(w, r, called(m), errors.Join(err, fs.ErrNotExist))
		return
	}
	b, err := Initramfs(Identity{MAC: m.MAC, Name: m.Name, Home: s.base + "/report/" + token, Blobs: s.base + "/blob/", System: m.Want,
		Chain: s.base + "/chain/" + token + "/", Recipe: s.addressed(system.Recipe, token)})
	if err != nil {
		s.refuse(w, r, called(m), err)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// addressed puts the server's addresses into a recipe.
func (s *Server) addressed(recipe []byte, token string) []byte {
	recipe = bytes.ReplaceAll(recipe, []byte(Mine), []byte(s.base+minePath+"/"+token))
	return bytes.ReplaceAll(recipe, []byte(Here), []byte(s.base))
}

// mine hands a machine's request to Rest, with who it is.
func (s *Server) mine(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("token")
	m, err := s.roster.Holder(token)
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	// A machine may send more than any answer to it has.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.refuse(w, r, "request", err)
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), asking{}, called(m)))
	http.StripPrefix(minePath+"/"+token, s.config.Rest).ServeHTTP(w, r)
}

// Initramfs writes an identity as the archive that the kernel unpacks.
func Initramfs(i Identity) ([]byte, error) {
	text, err := json.Marshal(i)
	if err != nil {
		return nil, fmt.Errorf("identity of %s: %w", i.Name, err)
	}
	var b bytes.Buffer
	err = boot.WriteCPIO(&b, boot.Entry{Path: "ore", Mode: 0o040755}, boot.Entry{Path: IdentityPath, Mode: 0o100400, Data: text})
	if err != nil {
		return nil, fmt.Errorf("identity of %s: %w", i.Name, err)
	}
	return b.Bytes(), nil
}

// report hears a machine's lines as they come. A machine whose line broke sends
// what it has not seen answered again; what was heard already is passed over.
func (s *Server) report(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("token")
	if _, err := s.roster.Holder(token); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	// An install's report may take longer than any other answer.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.refuse(w, r, "report", err)
		return
	}
	lines := bufio.NewScanner(http.MaxBytesReader(w, r.Body, maxReport))
	lines.Buffer(nil, maxLine)
	var last int64
	for lines.Scan() {
		var p roster.Report
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			http.Error(w, fmt.Sprintf("after n %d: %v", last, err), http.StatusBadRequest)
			return
		}
		if err := s.hear(token, p); err != nil {
			http.Error(w, fmt.Sprintf("after n %d: %v", last, err), http.StatusConflict)
			return
		}
		last = p.Number
	}
	if err := lines.Err(); err != nil && r.Context().Err() == nil {
		http.Error(w, fmt.Sprintf("after n %d: %v", last, err), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "{\"n\":%d}\n", last)
}

// hear takes one report and tells of it.
func (s *Server) hear(token string, p roster.Report) error {
	now := time.Now()
	m, fresh, err := s.roster.Hear(token, p, now)
	if err != nil || !fresh {
		return err
	}
	e := ore.Event{Stage: p.Stage, Machine: called(m), Text: p.Text, Done: p.Done, Total: p.Total, Final: p.Event == roster.End || p.Event == roster.Fail}
	if p.Event == roster.Fail {
		e.Text = "failed: " + p.Text
	}
	s.config.Watch.Tell(e)
	if s.config.Ready == nil || m.State != roster.Installed || !m.Since.Equal(now) {
		return nil // it has not become that just now: a machine says it whenever it starts
	}
	if system, ok, err := s.roster.System(m.Is); err == nil && ok { // else somebody forgot it just now
		s.config.Ready(m, system)
	}
	return nil
}

// sweep fails machines that are silent, until ctx ends.
func (s *Server) sweep(ctx context.Context) {
	for {
		failed, next, err := s.roster.Expire(time.Now())
		if err != nil {
			s.tell("", "look for silent machines: "+err.Error())
			next = time.Now().Add(askEvery)
		}
		for _, m := range failed {
			s.tell(called(m), m.Reason+": look at its console, then ore install assign "+m.MAC.String())
		}
		t := time.NewTimer(max(time.Until(next), minSweep))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}
