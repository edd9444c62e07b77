package plan

import (
	"slices"
	"testing"

	"ore"
	"ore/image"

	"pgregory.net/rapid"
)

// diskRates are those of the test's host with what one machine takes: 2 s for
// itself, 0.1 s for 100 bytes of layers, 4 s for each package.
func diskRates() Rates {
	r := testRates()
	r.Layer = 1
	r.Laws["setup@here"], r.Laws["pour@here"], r.Laws["packages@here"] = sure(2), sure(0, 1e-3), sure(1, 4, 0)
	r.Laws["setup disk@here"], r.Laws["pour disk@here"], r.Laws["disk image@here"] = sure(1), sure(0, 0.5e-3), sure(0.5, 1e-3)
	r.Laws["restart kexec@here"], r.Laws["restart restart@here"] = sure(0.25, 0), sure(3, 0)
	return r
}

// disks asks for machines with disks of their own.
func disks(n int, strategies ...string) Ask {
	return Ask{Environment: testEnvironment(), Machines: n, Disk: strategies, Restarts: []string{"restart", "kexec"}}
}

// Machines install themselves by what is quickest: from the image if it exists or
// pays for many, from packages where making it does not pay.
func TestChooseOntoDisks(t *testing.T) {
	all := []string{FromImage, FromBase, FromPackages}
	exact := &image.Manifest{Key: testEnvironment().Key(), Layers: []image.Layer{{Digest: "sha256:l", Size: 4000}}}
	slow, unseen := diskRates(), diskRates()
	slow.Laws["unpack@here"] = sure(0, 1, 1)
	delete(unseen.Laws, "packages@here")
	undared := diskRates()
	delete(undared.Laws, "pour disk@here")
	kept, none := &image.Layer{Size: 5000}, &image.Layer{}
	for _, c := range []struct {
		summary  string
		ask      Ask
		have     Have
		rates    Rates
		strategy string
		took     float64
	}{
		// The host has one core: four machines set up, 2, and write, 4, four times as long.
		{"the image is there", disks(1, all...), Have{Exact: exact}, diskRates(), FromImage, 2 + 4 + 0.25},
		{"for four", disks(4, all...), Have{Exact: exact}, diskRates(), FromImage, 4*(2+4) + 0.25},
		{"nothing is there, and building is slow", disks(1, all...), Have{}, slow, FromPackages, 4 + 2 + 1 + 2*4 + 0.25},
		{"the base is there", disks(1, all...), Have{Base: true, BaseLayer: image.Layer{Digest: "sha256:b", Size: 1000}}, slow, FromBase, 3 + 2 + 1 + 1 + 4 + 0.25},
		{"never done by packages", disks(1, all...), Have{}, unseen, FromImage, 4 + 1.1 + 3.5 + 1.05 + 0.75 + 2 + 4 + 0.25},
		{"a disk image is there", disks(1, FromImage, FromDisk), Have{Exact: exact, Disk: kept}, diskRates(), FromDisk, 1 + 2.5 + 0.25},
		{"it does not pay to make it for one", disks(1, FromImage, FromDisk), Have{Exact: exact, Disk: none}, slowDisk(), FromImage, 2 + 4 + 0.25},
		{"it does for four", disks(4, FromImage, FromDisk), Have{Exact: exact, Disk: none}, slowDisk(), FromDisk, 0.5 + 4*1.5 + 4*(1+2) + 0.25},
		{"the layout can have none", disks(1, FromImage, FromDisk), Have{Exact: exact}, diskRates(), FromImage, 2 + 4 + 0.25},
		{"nobody has measured it", disks(4, FromImage, FromDisk), Have{Exact: exact, Disk: kept}, undared, FromImage, 4*(2+4) + 0.25},
		{"it is asked for", disks(1, FromDisk), Have{Exact: exact}, diskRates(), FromDisk, 0.5 + 4 + 1 + 2 + 0.25},
		{"asked for", disks(1, FromPackages), Have{Exact: exact}, diskRates(), FromPackages, 4 + 2 + 1 + 2*4 + 0.25},
	} {
		p := Choose(c.ask, c.have, c.rates)
		o := p.Chosen()
		if o.Strategy != c.strategy || !about(o.Total.Middle, c.took) || !o.Known {
			t.Errorf("%s: %s by %s, %.2f s, known %v; want %s, %.2f s: %+v", c.summary, o.Way, o.Strategy, o.Total.Middle, o.Known, c.strategy, c.took, o.Stages)
		}
		if last := o.Stages[len(o.Stages)-1]; last.Stage != Restart || last.Note != "kexec" {
			t.Errorf("%s: it ends with %+v", c.summary, last)
		}
	}
}

// Machines apart share no cores with the host, whatever works there.
func TestApart(t *testing.T) {
	exact := &image.Manifest{Key: testEnvironment().Key(), Layers: []image.Layer{{Digest: "sha256:l", Size: 4000}}}
	ask := disks(1, FromImage)
	ask.Hosts, ask.Apart = []Host{{Cores: 1, Load: 3}}, true
	if o := Choose(ask, Have{Exact: exact}, diskRates()).Chosen(); !about(o.Total.Middle, 2+4+0.25) {
		t.Errorf("%.2f s: %+v", o.Total.Middle, o.Stages)
	}
	r := diskRates()
	kexec, known := r.Restarts(ByKexec)
	if _, other := r.Restarts(ByFirmware); !known || other || kexec != 0.25 {
		t.Errorf("kexec %.2f s, %v; firmware %v", kexec, known, other)
	}
}

// slowDisk has making a disk image take 6.5 s for the test's image.
func slowDisk() Rates {
	r := diskRates()
	r.Laws["disk image@here"] = sure(0.5, 1.5e-3)
	return r
}

// about compares seconds.
func about(a, b float64) bool { return a-b < 0.01 && b-a < 0.01 }

// Whatever exists and is known, there is a plan; it has only strategies that were
// asked for; what was never measured is not preferred to an image; and more
// machines are never ready earlier.
func TestDisksProperties(t *testing.T) {
	all := []string{FromImage, FromBase, FromPackages}
	rapid.Check(t, func(t *rapid.T) {
		ask := disks(rapid.IntRange(1, 16).Draw(t, "machines"), rapid.SampledFrom([][]string{all, all[:1], all[1:2], all[2:], all[:2], all[1:]}).Draw(t, "strategies")...)
		rates := diskRates()
		for _, law := range []string{"setup@here", "pour@here", "packages@here", "unpack@here", "restart kexec@here"} {
			if rapid.Bool().Draw(t, law) {
				delete(rates.Laws, law)
			}
		}
		var have Have
		if rapid.Bool().Draw(t, "image") {
			have.Exact = &image.Manifest{Key: ask.Environment.Key(), Layers: []image.Layer{{Digest: "sha256:l", Size: 4000}}}
		}
		have.Base = rapid.Bool().Draw(t, "base")
		have.Debs = map[ore.Digest]bool{"sha256:a": rapid.Bool().Draw(t, "deb")}
		p := Choose(ask, have, rates)
		o := p.Chosen()
		if !o.Possible || !slices.Contains(ask.Disk, o.Strategy) || o.Each != (o.Strategy != FromImage) {
			t.Fatalf("%+v", o)
		}
		if o.Each && !o.Known && slices.Contains(ask.Disk, FromImage) {
			t.Fatalf("%s is dared", o.Strategy)
		}
		more := ask
		more.Machines++
		if m := Choose(more, have, rates).Chosen(); o.Known && m.Known && m.Total.Middle < o.Total.Middle-1e-9 {
			t.Fatalf("%d machines after %.3f s, %d after %.3f s", ask.Machines, o.Total.Middle, more.Machines, m.Total.Middle)
		}
	})
}
