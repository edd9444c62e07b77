package netboot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/boot"
	"ore/netboot/dhcp"
	"ore/netboot/link"
	"ore/netboot/roster"
)

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// web is the HTTP side alone.
func web(t testing.TB) (*Server, *watcher, roster.System) {
	t.Helper()
	r, err := roster.Open(t.TempDir(), roster.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{}
	kernel := bytes.Repeat([]byte("0123456789"), 1000)
	system := roster.System{Kernel: ore.DigestOf(kernel), Initramfs: []ore.Digest{ore.DigestOf([]byte("i"))}, Arguments: "quiet", Recipe: []byte("cake of " + Blob(ore.DigestOf(kernel)))}
	s := &Server{roster: r, base: "http://10.9.0.1:8067", callers: map[link.MAC]dhcp.Client{}, config: Config{Hold: time.Minute, Watch: w.tell,
		Blob: func(_ context.Context, d ore.Digest) (io.ReadSeekCloser, error) {
			if d != system.Kernel {
				return nil, fs.ErrNotExist
			}
			return memory{bytes.NewReader(kernel)}, nil
		}}}
	s.chain = s.book()
	return s, w, system
}

// get asks the handler; a body makes it a POST.
func get(s *Server, path, body string, headers ...string) *httptest.ResponseRecorder {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	return w
}

// given returns the secret in an install's script.
func given(t testing.TB, s *Server) string {
	t.Helper()
	found := regexp.MustCompile(`/identity/(\S+)`).FindStringSubmatch(get(s, "/boot/525400000901", "").Body.String())
	if found == nil {
		t.Fatal("no identity in the script")
	}
	return found[1]
}

func assigned(t testing.TB) (*Server, *watcher, string) {
	t.Helper()
	s, w, system := web(t)
	m, _ := link.ParseMAC(card)
	if _, err := s.roster.Assign(roster.Order{MAC: m, Name: "m1", System: system}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return s, w, given(t, s)
}

func TestScripts(t *testing.T) {
	s, _, system := web(t)
	m, _ := link.ParseMAC(card)
	wait := get(s, "/boot/"+m.Path(), "").Body.String()
	if !strings.HasPrefix(wait, "#!ipxe\n") || !strings.Contains(wait, "ore install assign "+card) || !strings.Contains(wait, m.Path()+"?asked=1 || goto again") {
		t.Errorf("waiting:\n%s", wait)
	}
	if late := get(s, "/boot/"+m.Path()+"?asked=12", "").Body.String(); late != localScript() {
		t.Errorf("after a minute:\n%s", late)
	}
	if _, err := s.roster.Assign(roster.Order{MAC: m, Name: "m1", System: system}, time.Now()); err != nil {
		t.Fatal(err)
	}
	install := get(s, "/boot/"+m.Path(), "").Body.String()
	for _, want := range []string{
		fmt.Sprintf("kernel http://10.9.0.1:8067/blob/%s quiet initrd=i0 initrd=i1 || goto failed\n", system.Kernel),
		fmt.Sprintf("initrd --name i0 http://10.9.0.1:8067/blob/%s || goto failed\n", system.Initramfs[0]),
		"initrd --name i1 http://10.9.0.1:8067/identity/", "\nboot || goto failed\n",
	} {
		if !strings.Contains(install, want) {
			t.Errorf("no %q in:\n%s", want, install)
		}
	}
	for _, path := range []string{"/boot/x", "/boot/ff:ff:ff:ff:ff:ff", "/blob/x"} {
		if code := get(s, path, "").Code; code != http.StatusBadRequest {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// A machine that installs itself is told who began with a blob before it, by the address
// that its identity has; one that has ended is not, and is not named any more.
func TestChain(t *testing.T) {
	s, w, system := web(t)
	var tokens []string
	for i, address := range []string{"52:54:00:00:09:01", "52:54:00:00:09:02"} {
		m, _ := link.ParseMAC(address)
		if _, err := s.roster.Assign(roster.Order{MAC: m, Name: fmt.Sprintf("m%d", i+1), System: system}, time.Now()); err != nil {
			t.Fatal(err)
		}
		script := get(s, "/boot/"+m.Path(), "").Body.String()
		tokens = append(tokens, regexp.MustCompile(`/identity/(\S+)`).FindStringSubmatch(script)[1])
	}
	if at := `"chain":"http://10.9.0.1:8067/chain/` + tokens[0] + `/"`; !strings.Contains(get(s, "/identity/"+tokens[0], "").Body.String(), at) {
		t.Errorf("the identity has no %s", at)
	}
	ask := func(token string) (int, string) {
		got := get(s, "/chain/"+token+"/"+string(system.Kernel), `{"port": 99}`)
		return got.Code, got.Body.String()
	}
	if code, text := ask(tokens[0]); code != http.StatusOK || !strings.Contains(text, `"from":null`) {
		t.Errorf("the first: %d %s", code, text)
	}
	if code, text := ask(tokens[1]); code != http.StatusOK || !strings.Contains(text, `"from":["http://192.0.2.1:99/blob/"]`) {
		t.Errorf("the second: %d %s", code, text)
	}
	if told := w.text(); !strings.Contains(told, "from m1, or else from here") {
		t.Errorf("told: %s", told)
	}
	get(s, "/report/"+tokens[0], `{"n":1,"stage":"restart","event":"start"}`)
	if code, text := ask(tokens[0]); code != http.StatusForbidden {
		t.Errorf("one that has ended: %d %s", code, text)
	}
	if code, text := ask(tokens[1]); code != http.StatusOK || !strings.Contains(text, `"from":null`) {
		t.Errorf("the second, once the first has ended: %d %s", code, text)
	}
}

// What only a machine may ask reaches who answers the rest with its name, and without
// its secret; nobody else gets there under a name.
func TestMine(t *testing.T) {
	s, _, system := web(t)
	s.config.Rest = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s asks %s", Asks(r), r.URL.Path) })
	m, _ := link.ParseMAC(card)
	system.Recipe = []byte("from " + Here + "/packages, to " + Mine + "/captured/00")
	if _, err := s.roster.Assign(roster.Order{MAC: m, Name: "m1", System: system}, time.Now()); err != nil {
		t.Fatal(err)
	}
	token := given(t, s)
	if got, want := string(s.addressed(system.Recipe, token)), "from http://10.9.0.1:8067/packages, to http://10.9.0.1:8067/mine/"+token+"/captured/00"; got != want {
		t.Errorf("the recipe is %s, want %s", got, want)
	}
	for path, want := range map[string]string{
		"/mine/" + token + "/captured/00": "m1 asks /captured/00",
		"/captured/00":                    " asks /captured/00",
		"/mine/x/captured/00":             roster.ErrStranger.Error() + "\n",
	} {
		if got := get(s, path, "").Body.String(); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// TestFailuresAreShown puts what a machine says into a script: it must stay
// text there.
func TestFailuresAreShown(t *testing.T) {
	s, _, token := assigned(t)
	report := `{"n":1,"stage":"base","event":"fail","text":"no space\nshell ${x} || reboot"}` + "\n"
	if w := get(s, "/report/"+token, report); w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	script := get(s, "/boot/525400000901", "").Body.String()
	if !strings.Contains(script, "echo ore: the install failed: stage base: no space shell  {x}    reboot\n") {
		t.Errorf("script:\n%s", script)
	}
}

func TestBlobsHaveRanges(t *testing.T) {
	s, w, system := web(t)
	path := "/blob/" + string(system.Kernel)
	if r := get(s, path, ""); r.Code != http.StatusOK || ore.DigestOf(r.Body.Bytes()) != system.Kernel {
		t.Errorf("whole: %d, %d octets", r.Code, r.Body.Len())
	}
	if r := get(s, path, "", "Range", "bytes=9995-"); r.Code != http.StatusPartialContent || r.Body.String() != "56789" {
		t.Errorf("range: %d %q", r.Code, r.Body)
	}
	if r := get(s, path, "", "Range", "bytes=5-7", "If-Range", `"`+system.Kernel.Hex()+`"`); r.Body.String() != "567" {
		t.Errorf("if-range: %d %q", r.Code, r.Body)
	}
	if r := get(s, path, "", "Range", "bytes=99999-"); r.Code != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("beyond the end: %d", r.Code)
	}
	if r := get(s, "/blob/"+string(ore.DigestOf(nil)), ""); r.Code != http.StatusNotFound || !strings.Contains(w.text(), "e3b0c44") {
		t.Errorf("unknown: %d, told %q", r.Code, w.text())
	}
}

func TestIdentity(t *testing.T) {
	s, _, token := assigned(t)
	entries, err := boot.ReadCPIO(get(s, "/identity/"+token, "").Body)
	if err != nil || len(entries) != 2 || entries[1].Path != IdentityPath {
		t.Fatalf("%v: %+v", err, entries)
	}
	var i Identity
	if err := json.Unmarshal(entries[1].Data, &i); err != nil {
		t.Fatal(err)
	}
	if i.MAC.String() != card || i.Name != "m1" || !strings.HasPrefix(string(i.Recipe), "cake of http://10.9.0.1:8067/blob/sha256:") || i.Home != "http://10.9.0.1:8067/report/"+token || i.System == "" {
		t.Errorf("%+v", i)
	}
	if code := get(s, "/identity/guess", "").Code; code != http.StatusNotFound {
		t.Errorf("a guess: %d", code)
	}
	next := given(t, s)
	if next == token {
		t.Error("two tries have one secret")
	}
	if code := get(s, "/identity/"+token, "").Code; code != http.StatusOK {
		t.Errorf("the secret of one that is still on its way: %d", code)
	}
	if w := get(s, "/report/"+next, `{"n":1,"stage":"base","event":"start"}`+"\n"); w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	if code := get(s, "/identity/"+token, "").Code; code != http.StatusNotFound {
		t.Errorf("the last try's secret: %d", code)
	}
}

func TestReports(t *testing.T) {
	s, w, token := assigned(t)
	lines := `{"n":1,"stage":"base","event":"start","total":100}
{"n":2,"stage":"base","event":"advance","done":50,"total":100}

{"n":3,"stage":"base","event":"end","text":"100 octets"}
`
	for range 2 { // the answer was lost, and the machine says it again
		if r := get(s, "/report/"+token, lines); r.Code != http.StatusOK || r.Body.String() != "{\"n\":3}\n" {
			t.Errorf("%d %s", r.Code, r.Body)
		}
	}
	if n := strings.Count(w.text(), "base m1"); n != 3 {
		t.Errorf("told %d times:\n%s", n, w.text())
	}
	for _, c := range []struct {
		summary, token, body, want string
		code                       int
	}{
		{"a guess", "guess", lines, "no machine", http.StatusForbidden},
		{"no JSON", token, "{\n", "after n 0", http.StatusBadRequest},
		{"no stage", token, `{"n":4,"stage":"lunch","event":"start"}`, "after n 0", http.StatusConflict},
		{"half", token, `{"n":4,"stage":"base","event":"start"}` + "\nx", "after n 4", http.StatusBadRequest},
		{"a line without end", token, strings.Repeat(" ", 2*maxLine), "too long", http.StatusBadRequest},
	} {
		if r := get(s, "/report/"+c.token, c.body); r.Code != c.code || !strings.Contains(r.Body.String(), c.want) {
			t.Errorf("%s: %d %s", c.summary, r.Code, r.Body)
		}
	}
}

// FuzzReport sends anything as a report.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"n":1,"stage":"base","event":"start"}` + "\n"))
	f.Add([]byte(`{"n":1,"stage":"restart","event":"start"}` + "\n" + `{"n":2,"stage":"ready","event":"end"}`))
	s, _, token := assigned(f)
	s.config.Watch = nil
	f.Fuzz(func(t *testing.T, b []byte) {
		r := httptest.NewRequest(http.MethodPost, "/report/"+token, bytes.NewReader(b))
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, r)
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest && w.Code != http.StatusConflict && w.Code != http.StatusForbidden {
			t.Fatalf("%q: %d %s", b, w.Code, w.Body)
		}
	})
}

func FuzzPrintable(f *testing.F) {
	f.Add("a ${b}\n|| c")
	f.Fuzz(func(t *testing.T, s string) {
		if p := printable(s); strings.ContainsAny(p, "$|&;\n\r\\") || len(p) > 200 {
			t.Fatalf("%q", p)
		}
	})
}

// TestRest gives what is not of this package to who was given for it.
func TestRest(t *testing.T) {
	s, _, _ := web(t)
	if code := get(s, "/sha256/aa", "").Code; code != http.StatusNotFound {
		t.Errorf("without anybody: %d", code)
	}
	s.config.Rest = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "rest of ", r.URL.Path) })
	if w := get(s, "/sha256/aa", ""); w.Body.String() != "rest of /sha256/aa" {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	if w := get(s, "/boot/x", ""); w.Code != http.StatusBadRequest {
		t.Errorf("a machine's question goes there, too: %d: %s", w.Code, w.Body)
	}
}
