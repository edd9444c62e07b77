package plan

// register predicts what remains to do on the first host with an image that has come
// from elsewhere: to read it once more, to list it, and to hold it. It is this host's
// work and not the link's, where all hosts' requests add up.
func (m *model) register() Estimate {
	b := bench{m.head(), 1}
	name := lawName(workRegister, b.host.name())
	m.likeSealing(name, lawName(workSeal, b.host.name()))
	t := Term{Law: name, Amounts: []float64{1}}.on(b.host, 1, b.n)
	return Estimate{Stage: Register, Work: 1, Unit: "images", Branches: [][]Term{{t}}}
}

// likeSealing has a law of registering that knows nothing begin with what ending a
// build takes beside its bytes, or else with next to nothing: as work that nobody has
// measured it would count as dear as anything, and no image would ever be fetched.
func (m *model) likeSealing(register, seal string) {
	const runs = 0 // its place among the amounts of sealing
	l, s := m.law(register), m.law(seal)
	if l.KnowsAmount(runs) {
		return
	}
	c := leastPut
	if s.KnowsAmount(runs) {
		c = max(c, s.Coef[runs])
	}
	first := l.Calibrated([]float64{c})
	m.laws[register] = &first
}
