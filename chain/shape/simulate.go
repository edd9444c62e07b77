package shape

import (
	"container/heap"
	"slices"
)

// Death is a host that ends at a time, in seconds; Noticed later its children
// have other parents.
type Death struct {
	Host        int
	At, Noticed float64
}

// Simulate plays a task chunk by chunk and returns when each receiver has all;
// the dead have zero. Links carry one chunk after another; a chunk can leave
// when all of it has come. It says the same each time.
func Simulate(t Task, s Shape, deaths ...Death) []float64 {
	t = t.known()
	chunks := int((t.Size + t.Chunk - 1) / max(t.Chunk, 1))
	m := &simulation{task: t, shape: s.Clone(), chunks: chunks, done: make([]float64, len(t.Receivers))}
	m.draw()
	m.hosts = make([]simulated, len(t.Receivers)+1)
	for i := range m.hosts {
		m.hosts[i].state = make([]byte, chunks)
	}
	source := &m.hosts[0]
	source.count = chunks
	for c := range chunks {
		source.state[c] = here
	}
	for _, d := range deaths {
		m.at(d.At, func() { m.die(d.Host) })
		m.at(d.At+d.Noticed, func() { m.repair(d.Host) })
	}
	for c := range chunks {
		m.pass(t.Setup, Source, c)
	}
	for m.queue.Len() > 0 {
		e := heap.Pop(&m.queue).(event)
		m.now = e.at
		e.do()
	}
	return m.done
}

// States of a chunk at a host.
const (
	missing = iota
	coming
	here
)

// simulated is one host, by its index plus one.
type simulated struct {
	state          []byte
	count          int
	upFree, doFree float64 // when its links have nothing to do
	dead           bool
}

type simulation struct {
	task   Task
	shape  Shape
	chunks int
	hosts  []simulated
	done   []float64
	below  []map[int][]int // for each tree the children of each host
	queue  events
	number int
	now    float64
}

func (m *simulation) at(when float64, do func()) {
	m.number++
	heap.Push(&m.queue, event{when, m.number, do})
}

func (m *simulation) rates(host int) (up, down float64) {
	if host == Source {
		return m.task.Source.Up, m.task.Source.Down
	}
	return m.task.Receivers[host].Up, m.task.Receivers[host].Down
}

// draw notes whose children are whose.
func (m *simulation) draw() {
	m.below = nil
	for _, parent := range m.shape.Trees {
		children := map[int][]int{}
		for i, p := range parent {
			children[p] = append(children[p], i)
		}
		m.below = append(m.below, children)
	}
}

// pass sends a chunk on from a host that has it by then to its children.
func (m *simulation) pass(when float64, host, chunk int) {
	for _, child := range m.below[chunk%len(m.below)][host] {
		m.send(when, host, child, chunk)
	}
}

func (m *simulation) send(when float64, from, to, chunk int) {
	a, b := &m.hosts[from+1], &m.hosts[to+1]
	if a.dead || b.dead || b.state[chunk] != missing {
		return
	}
	b.state[chunk] = coming
	size := float64(min(m.task.Chunk, m.task.Size-int64(chunk)*m.task.Chunk))
	up, _ := m.rates(from)
	_, down := m.rates(to)
	a.upFree = max(a.upFree, when) + size/up
	m.at(a.upFree, func() {
		b.doFree = max(m.now, b.doFree+size/down)
		m.at(b.doFree+m.task.Hop, func() { m.arrive(from, to, chunk) })
	})
}

func (m *simulation) arrive(from, to, chunk int) {
	b := &m.hosts[to+1]
	switch {
	case b.dead:
		return
	case m.hosts[from+1].dead:
		b.state[chunk] = missing // it was cut off on its way
		if p := m.shape.Trees[chunk%len(m.shape.Trees)][to]; p != from && m.has(p, chunk) {
			m.send(m.now, p, to, chunk)
		}
		return
	}
	b.state[chunk] = here
	b.count++
	if b.count == m.chunks {
		m.done[to] = m.now
	}
	m.pass(m.now, to, chunk)
}

func (m *simulation) has(host, chunk int) bool { return m.hosts[host+1].state[chunk] == here }

func (m *simulation) die(host int) { m.hosts[host+1].dead = true }

// repair gives the children of the dead new parents, who send what is missing.
func (m *simulation) repair(host int) {
	before := m.shape.Clone()
	m.shape.Remove(host)
	m.draw()
	for k, parent := range m.shape.Trees {
		for i, p := range parent {
			if p == before.Trees[k][i] || p == Out {
				continue
			}
			for c := k; c < m.chunks; c += len(m.shape.Trees) {
				if m.has(p, c) {
					m.send(m.now, p, i, c)
				}
			}
		}
	}
	m.done[host] = 0
}

// Last is the time at which the last of the living has all.
func Last(done []float64) float64 { return slices.Max(done) }

// event happens at a time; of two at the same time the one that was made first
// comes first.
type event struct {
	at     float64
	number int
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].number < e[j].number
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push is for package heap.
func (e *events) Push(x any) { *e = append(*e, x.(event)) }

// Pop is for package heap.
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
