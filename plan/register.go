package plan

// register predicts what remains to do on the first host with an image that has come
// from elsewhere: to read it once more, to list it, and to hold it. It is this host's
// work and not the link's, where all hosts' requests add up.
func (m *model) register() Estimate {
	b := bench{m.head(), 1}
	name := lawName(workRegister, b.host.name())
	m.likeNothing(name)
	t := Term{Law: name, Amounts: []float64{1}}.on(b.host, 1, b.n)
	return Estimate{Stage: Register, Work: 1, Unit: "images", Branches: [][]Term{{t}}}
}

// likeNothing has a law that knows nothing of images that came begin with next to no
// time: as work that nobody has measured it would count as dear as anything, no image
// would ever be fetched, and none would show what it takes.
func (m *model) likeNothing(name string) {
	if l := m.law(name); !l.KnowsAmount(0) {
		first := l.Calibrated([]float64{leastPut})
		m.laws[name] = &first
	}
}
