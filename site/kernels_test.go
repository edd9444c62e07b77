package site

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"ore"
	"ore/deb/debtest"
	"ore/job"
	"ore/plan"
)

// suites serves two archives as two suites of one mirror, and counts what it
// is asked for.
type suites struct {
	url, key string
	asked    atomic.Int64
	lacks    atomic.Bool // the suite that User Mode Linux is wanted from
	trouble  atomic.Bool // has it as well: it may come to an end
}

func newSuites(t *testing.T) *suites {
	t.Helper()
	if toolBase().Suite == umlSuite {
		t.Skip("the host's own suite is that of User Mode Linux: there is no choice to test")
	}
	kernel := func(version string) debtest.Package {
		return debtest.Package{Name: umlPackage, Version: version, Files: map[string]string{"usr/bin/linux.uml": version}}
	}
	old := debtest.New(t)
	recent := debtest.New(t)
	old.Publish(debtest.Release{Codename: toolBase().Suite}, kernel("1"), debtest.Package{Name: cloudKernel})
	recent.Publish(debtest.Release{Codename: umlSuite, Signer: old}, kernel("2"))
	s := &suites{key: old.KeyFile}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		to := old
		if strings.HasPrefix(r.URL.Path, "/dists/"+umlSuite+"/") || strings.Contains(r.URL.Path, "_2_") {
			if s.trouble.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			if to = recent; s.lacks.Load() {
				http.NotFound(w, r)
				return
			}
		}
		for _, suite := range []string{umlSuite, toolBase().Suite} {
			r.URL.Path = strings.Replace(r.URL.Path, "/dists/"+suite+"/", "/dists/"+debtest.Suite+"/", 1)
		}
		u, err := url.Parse(to.URL)
		if err != nil {
			t.Error(err)
			return
		}
		httputil.NewSingleHostReverseProxy(u).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// site opens a site that has the mirror; dirs are those of an earlier one.
func (s *suites) site(t *testing.T, dirs Dirs) *Site {
	t.Helper()
	t.Setenv(UMLSuiteVariable, "")
	site, err := Open(t.Context(), Config{Dirs: dirs, Mirror: s.url, Keyring: s.key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	})
	return site
}

// umlVersion is the version of User Mode Linux that machines would have.
func umlVersion(t *testing.T, s *Site) string {
	t.Helper()
	sh, err := s.umlTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := sh.Tree(t.Context(), umlPackage)
	if err != nil {
		t.Fatal(err)
	}
	return tree.Packages[0].Version
}

func TestUMLComesFromANewerSuite(t *testing.T) {
	m, dirs := newSuites(t), newSite(t).Dirs
	s := m.site(t, dirs)
	if v := umlVersion(t, s); v != "2" || s.umlNote() != "of "+umlSuite {
		t.Errorf("version %s, %s", v, s.umlNote())
	}
	before := m.asked.Load()
	if v := umlVersion(t, m.site(t, dirs)); v != "2" || m.asked.Load() != before {
		t.Errorf("a second site has version %s, after %d questions to the mirror", v, m.asked.Load()-before)
	}
	t.Setenv(UMLSuiteVariable, toolBase().Suite)
	other := m.site(t, dirs)
	t.Setenv(UMLSuiteVariable, toolBase().Suite)
	if v := umlVersion(t, other); v != "1" {
		t.Errorf("with %s=%s: version %s", UMLSuiteVariable, toolBase().Suite, v)
	}
	third := m.site(t, dirs)
	t.Setenv(UMLSuiteVariable, "nowhere")
	if _, err := third.umlTools(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a suite that was asked for and is not there: %v", err)
	}
}

func TestUMLOfTheHostsSuiteWillDo(t *testing.T) {
	m, dirs := newSuites(t), newSite(t).Dirs
	m.lacks.Store(true)
	s := m.site(t, dirs)
	if v := umlVersion(t, s); v != "1" || !strings.Contains(s.umlNote(), "slower") || !strings.Contains(s.umlNote(), umlSuite) {
		t.Errorf("version %s, %s", v, s.umlNote())
	}
	before := m.asked.Load()
	if v := umlVersion(t, m.site(t, dirs)); v != "1" || m.asked.Load() != before {
		t.Errorf("a second site has version %s, after %d questions to the mirror", v, m.asked.Load()-before)
	}
}

// A mirror that is in trouble for a moment is asked again by who comes next.
func TestUMLSuiteInTroubleIsNotRemembered(t *testing.T) {
	m, dirs := newSuites(t), newSite(t).Dirs
	m.trouble.Store(true)
	s := m.site(t, dirs)
	if v := umlVersion(t, s); v != "1" {
		t.Errorf("while the mirror is in trouble: version %s", v)
	}
	m.trouble.Store(false)
	if v := umlVersion(t, m.site(t, dirs)); v != "2" {
		t.Errorf("once it is not: version %s", v)
	}
}

func TestLocksNameTheSuiteOfTheirKernels(t *testing.T) {
	m, dirs := newSuites(t), newSite(t).Dirs
	l := Lock{Kernels: map[string][]ore.Package{}, Suites: map[string]string{}}
	if err := m.site(t, dirs).lockKernels(t.Context(), &l, nil); err != nil {
		t.Fatal(err)
	}
	if l.Suites[umlPackage] != umlSuite || l.Suites[cloudKernel] != toolBase().Suite {
		t.Errorf("suites %v", l.Suites)
	}
	pinned := m.site(t, dirs)
	pinned.Pinned = &l
	if v := umlVersion(t, pinned); v != "2" {
		t.Errorf("by the lock: version %s", v)
	}
	m.lacks.Store(true) // what is kept serves a lock, whatever the mirror has by now
	pinned = m.site(t, dirs)
	pinned.Pinned = &l
	if v := umlVersion(t, pinned); v != "2" {
		t.Errorf("by the lock, the suite gone: version %s", v)
	}

	m.lacks.Store(true)
	old := Lock{Kernels: map[string][]ore.Package{}, Suites: map[string]string{}}
	elsewhere := newSite(t).Dirs
	if err := m.site(t, elsewhere).lockKernels(t.Context(), &old, nil); err != nil {
		t.Fatal(err)
	}
	if old.Suites[umlPackage] != toolBase().Suite {
		t.Errorf("suites %v, where the mirror has one alone", old.Suites)
	}
	m.lacks.Store(false)
	old.Suites = nil // as locks were once written
	pinned = m.site(t, elsewhere)
	pinned.Pinned = &old
	if v := umlVersion(t, pinned); v != "1" {
		t.Errorf("by an old lock: version %s", v)
	}
}

// A kernel that does not exist is refused before anything else is done.
func TestPlanLooksAtTheKernel(t *testing.T) {
	s := newSuites(t).site(t, newSite(t).Dirs)
	for _, c := range []struct{ kernel, hypervisor, say string }{
		{"linux-image-nowhere", "auto", "kernel linux-image-nowhere: "},
		{cloudKernel, "uml", "User Mode Linux is a kernel of its own"},
	} {
		j := job.Default(toolBase().Suite)
		j.Wants.Kernel, j.Machines.Hypervisor = c.kernel, c.hypervisor
		if _, _, err := s.Plan(t.Context(), j, nil, plan.WhatIf{}, nil); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s, %s: %v", c.kernel, c.hypervisor, err)
		} else {
			t.Log(err)
		}
	}
	j := job.Default(toolBase().Suite)
	j.Wants.Kernel = cloudKernel
	if err := s.checkKernel(t.Context(), j); err != nil {
		t.Errorf("one that exists: %v", err)
	}
}
