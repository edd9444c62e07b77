//go:build system

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"ore/image"
)

// What machines installed is kept as an image, once, which is the host's own to
// the byte, and which the next machine is installed from.
func TestCapture(t *testing.T) {
	p := someone(t)
	built := p.build(t, "-p", "hello")
	p.must(t, "images", "rm", string(built.Key))
	install := func(more ...string) outcome {
		return p.must(t, append(append([]string{"run", "--root", "disk", "--disk", "2G", "-m", "512M", "-p", "hello", "--hypervisor", "uml", "--results", p.results(t)}, more...), "--", "hello")...)
	}
	install("--install-from", "base", "--capture=false")
	if _, there := p.images(t)[built.Key]; there {
		t.Fatal("an image is kept although nobody wants it")
	}
	o := install("--install-from", "base", "-n", "2")
	if _, there := p.images(t)[built.Key]; !there {
		t.Fatalf("no image is kept: %s", o.err)
	}
	var captured image.Manifest
	if err := json.Unmarshal([]byte(p.must(t, "images", "show", "--json", string(built.Key)).out), &captured); err != nil {
		t.Fatal(err)
	}
	if captured.Digest() != built.Digest() {
		t.Errorf("captured %+v with the tree %s, built %+v with the tree %s", captured.Layers, captured.Tree.Short(), built.Layers, built.Tree.Short())
	}
	if o := install(); strings.Contains(o.err, "configure ") {
		t.Errorf("the next request does not find it: %s", o.err)
	}
}

// What machines on other hosts installed is kept as an image here, by one of them, which
// the next request finds.
func TestCaptureOfHosts(t *testing.T) {
	p := someone(t)
	built := p.build(t, "-p", "hello")
	p.must(t, "run", "-q", "--hypervisor", "uml", "--results", p.results(t), "--", "true") // the kernel is at hand now
	p.must(t, "images", "rm", string(built.Key))
	f := lend(t, p, 2)
	install := func(more ...string) outcome {
		return f.run(t, append(append([]string{"-n", "3", "--root", "disk", "--disk", "2G", "-m", "512M", "-p", "hello", "--hypervisor", "uml", "--results", p.results(t)}, more...),
			"--", "sh", "-c", "hello; dpkg --audit; dpkg --verify")...)
	}
	install("--install-from", "packages", "--capture=false")
	if _, there := p.images(t)[built.Key]; there {
		t.Fatal("an image is kept although nobody wants it")
	}
	o := install("--install-from", "packages")
	var captured image.Manifest
	if err := json.Unmarshal([]byte(p.must(t, "images", "show", "--json", string(built.Key)).out), &captured); err != nil {
		t.Fatalf("no image is kept: %v: %s", err, o.err)
	}
	if captured.Digest() != built.Digest() {
		t.Errorf("captured %+v with the tree %s, built %+v with the tree %s", captured.Layers, captured.Tree.Short(), built.Layers, built.Tree.Short())
	}
	if o := install(); strings.Contains(o.err, "configure ") || strings.Count(o.out, "Hello, world!\n") != 3 {
		t.Errorf("the next request does not find it: %s%s", o.out, o.err)
	}
}
