package plan

import (
	"math"
	"testing"
	"time"
)

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func near(a, b, share float64) bool { return math.Abs(a-b) <= share*math.Abs(b) }

// A calibration is a first rate: it is wide, and runs correct it.
func TestCalibrate(t *testing.T) {
	c := Calibration{Cores: 2, Decode: 20e6, Compress: 200e6, Hash: 400e6, Create: 20000, Process: 0.002,
		Links: map[string]LinkTry{Mirror: {Request: 0.01, Rate: 1e6}}}
	r := Rates{}.Calibrate("", c)
	p := Choose(Ask{Environment: testEnvironment()}, Have{}, r)
	o := p.Chosen()
	if !o.Known || o.Total.Low >= o.Total.Middle || o.Total.High < 1.5*o.Total.Low {
		t.Errorf("after a calibration: known %v, %+v", o.Known, o.Total)
	}
	law := func() Law { return r.Laws["fetch@mirror"] }
	if got := law(); !near(got.Seconds([]float64{1, 1e6}), 1.01, 0.01) {
		t.Errorf("the calibrated link: %v", got.Coef)
	}
	// 1000 files are in 6 MB of packages, and in 9.6 MB of a layer; 20,000 can be made in a second.
	if l := r.Laws["restore@here"]; !near(l.Seconds([]float64{9.6e6}), 0.05, 1e-6) {
		t.Errorf("restoring 1000 files: %v s", l.Seconds([]float64{9.6e6}))
	}
	for range 10 {
		r = r.Learn(Measurement{Law: "fetch@mirror", Amounts: []float64{4, 8e6}, Took: 4 * time.Second})
	}
	if got := law(); !near(got.Seconds([]float64{4, 8e6}), 4, 0.02) {
		t.Errorf("after ten runs: %v s", got.Seconds([]float64{4, 8e6}))
	}
	if q := (Rates{}).Calibrate("", Calibration{}); len(q.Laws) != 0 {
		t.Errorf("a calibration of nothing taught %v", q.Laws)
	}
}

// Machines of other hosts are a first measure of a new one; links are not of
// others, except for those between hosts.
func TestPools(t *testing.T) {
	r := Rates{}.Learn(
		Measurement{Law: "unpack@a", Amounts: []float64{1}, Took: time.Second},
		Measurement{Law: "fetch@hosts a", Amounts: []float64{1, 100}, Took: time.Second},
		Measurement{Law: "fetch@cache", Amounts: []float64{1, 100}, Took: time.Second})
	for name, known := range map[string]bool{"unpack@b": true, "fetch@hosts b": true, "fetch@other": false, "seal@b": false} {
		l := r.named(name)
		if got := l.Count > 0; got != known {
			t.Errorf("%s: known %v", name, got)
		}
	}
}

// Of a first run over a link all is its bytes', but for what asking showed a request to
// take: ten hosts take ten times as long, and a job that has little to send hardly any time.
func TestFirstRunOverALink(t *testing.T) {
	first := Measurement{Law: "fetch@cache", Amounts: []float64{1, 1e6}, Took: seconds(2)}
	asked := map[string]LinkTry{"cache": {Request: 0.2}}
	for _, c := range []struct {
		rates Rates
		want  float64 // seconds of a request and ten times the bytes
	}{{Rates{}.Learn(first), 20}, {Rates{}.Asked(asked).Learn(first), 18.2}} {
		l := c.rates.named("fetch@cache")
		if got := l.Seconds([]float64{1, 1e7}); !near(got, c.want, 0.02) {
			t.Errorf("ten times the bytes take %.2f s, want %.2f", got, c.want)
		}
	}
	hosts := Rates{}.Learn(Measurement{Law: "fetch@hosts a", Amounts: []float64{4, 8e7}, Took: seconds(10)})
	if l := hosts.named("fetch@hosts a"); l.Seconds([]float64{4, 1e6}) > 0.2 {
		t.Errorf("a small image to hosts takes %.2f s", l.Seconds([]float64{4, 1e6}))
	}
	known := Rates{}.Learn(first)
	if again := known.Asked(asked); again.Laws["fetch@cache"].Count != 1 {
		t.Error("a question is told to a link that is known")
	}
}

// What is remembered by name is bounded.
func TestRememberIsBounded(t *testing.T) {
	many := map[string]time.Duration{}
	for i := range 2 * maxNames {
		many[PackageName(time.Duration(i).String())] = time.Duration(i) * time.Millisecond
	}
	r := Rates{}.Remember(many, 0)
	if len(r.Names) != maxNames {
		t.Errorf("%d names are kept", len(r.Names))
	}
	if r.Names[PackageName(time.Duration(2*maxNames-1).String())] == 0 {
		t.Error("the dearest name was forgotten")
	}
}

// What is assumed counts only where nothing is known.
func TestAssume(t *testing.T) {
	c := Calibration{Cores: 2, Decode: 20e6, Compress: 200e6, Hash: 400e6, Create: 20000, Process: 0.002,
		Links: map[string]LinkTry{"cache": {Request: 0.1, Rate: 1e6}, Mirror: {Request: 0.2, Rate: 1e6}}}
	known := Rates{}.Learn(Measurement{Law: "fetch@mirror", Amounts: []float64{10, 1e6}, Took: time.Second},
		Measurement{Law: "unpack@here", Amounts: []float64{1, 0, 1e6}, Took: time.Second})
	r := known.Assume("", c)
	was := known.named("fetch@mirror")
	if l := r.named("fetch@mirror"); l.Seconds([]float64{10, 1e6}) != was.Seconds([]float64{10, 1e6}) {
		t.Errorf("what was known is now %+v", l)
	}
	if l := r.named("fetch@cache"); !l.Knows([]float64{1, 1}) || !near(l.Seconds([]float64{1, 1e6}), 1.1, 1e-6) {
		t.Errorf("the cache's link: %+v", l)
	}
	if l := r.named("unpack@here"); !l.Knows([]float64{1, 1, 1}) || !near(l.Seconds([]float64{1, 0, 1e6}), 1, 0.6) {
		t.Errorf("unpacking, half known: %+v", l)
	}
	if _, changed := known.Laws["fetch@cache"]; changed {
		t.Error("the rates that were given have changed")
	}
}

// Work that was never done counts as what is most like it, so that a way is not
// avoided for ever since it was never taken.
func TestRelated(t *testing.T) {
	// The first build of a site decodes and puts; the base is restored from its
	// layer only by the second one.
	r := Rates{}
	for i := range 3 {
		n := 1e6 * float64(1+i)
		r = r.Learn(Measurement{Law: "unpack@here", Amounts: []float64{1, n, n}, Took: seconds(0.1 + 2e-7*n)})
	}
	m := newModel(Ask{Environment: testEnvironment()}, Have{}, r)
	u := m.law("unpack@here")
	e := m.restore(1e6, bench{Host{Name: Here, Cores: 2}, 1})
	if at := m.moment(&e, nil); !e.Known || !near(at.mean, u.Seconds([]float64{0, 0, 1e6}), 1e-9) {
		t.Errorf("restoring is %+v, %v", e, at)
	}
	if l := m.law("seal@here"); l.Knows([]float64{0, 1}) {
		t.Error("sealing is known by unpacking")
	}
	if known := r.Laws["restore@here"]; known.KnowsAmount(0) {
		t.Error("the rates themselves have changed")
	}
}
