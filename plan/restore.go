package plan

// sideBySide is the share of the work of restoring that all cores do, each for itself:
// files get their content side by side, and then one thread gives all of them their
// places and owners. Measured on Debian 12's minbase: restoring is 1.3 threads' work
// where there are two cores.
const sideBySide = 0.46

// restore predicts laying out layers as the tree that packages are installed over.
func (m *model) restore(bytes float64, b bench) Estimate {
	name, cores := lawName(workRestore, b.host.name()), b.host.cores()
	side := sideBySide / float64(cores) / (sideBySide/float64(cores) + 1 - sideBySide) // of the time of one alone
	terms := []Term{
		Term{Law: name, Amounts: []float64{side * bytes}}.on(b.host, cores, b.n),
		Term{Law: name, Amounts: []float64{(1 - side) * bytes}}.on(b.host, 1, b.n),
	}
	m.likePutting(name, lawName(workUnpack, b.host.name()))
	return Estimate{Stage: Restore, Work: bytes, Unit: "bytes", Branches: [][]Term{terms}}
}

// likePutting has a law of restoring that knows nothing begin with what a byte of a
// package takes: else nothing would ever be restored, and never be measured.
func (m *model) likePutting(restore, unpack string) {
	const put = 2 // its place among the amounts of unpacking
	l, u := m.law(restore), m.law(unpack)
	if l.KnowsAmount(0) || !u.KnowsAmount(put) {
		return
	}
	first := l.Calibrated([]float64{max(u.Coef[put], leastPut)})
	m.laws[restore] = &first
}

// leastPut stands for a coefficient of work that was measured to take no time beside
// other work: what is zero would count as unknown.
const leastPut = 1e-12
