package replay

// Policy decides what stays. Its methods are called for one request after
// another: Asked for each, then Added if it was not kept and has been built,
// then Victim until what is kept fits.
type Policy interface {
	// Asked tells of a request.
	Asked(r Request)
	// Added tells that e is kept now.
	Added(now int64, e int)
	// Victim returns which kept environment goes next.
	Victim(now int64) int
	// Evicted tells that e is gone.
	Evicted(e int)
}

// Request is one request of a trace.
type Request struct {
	Now   int64
	E     int     // the environment
	Kept  bool    // its image was there
	From  int     // the kept environment that it was built upon, -1 for none
	Saved float64 // seconds, by that
}

// Outcome is what a policy did on a trace.
type Outcome struct {
	Policy  string
	Saved   float64 // seconds, against a site that keeps the base alone
	Whole   float64 // seconds that such a site takes
	Hits    int     // requests for what was kept
	Builds  int
	Evicted int
}

// Room returns the bytes of a share of all layers that a trace asks for.
func Room(w World, trace []int, share float64) int64 {
	seen := map[int]bool{}
	var sum int64
	for _, e := range trace {
		for _, l := range w.Environments[e].Layers {
			if !seen[l] {
				seen[l] = true
				sum += w.Layers[l]
			}
		}
	}
	return int64(share * float64(sum))
}

// State is what is kept while a trace is played. Policies may read it.
type State struct {
	World World
	Kept  map[int]bool
	users []int // of each layer
	bytes int64
	Reuse bool // whether builds begin at what is kept
}

// Full returns the seconds for e from the base alone.
func (s *State) Full(e int) float64 {
	return s.World.Environments[e].Stack + s.World.Environments[e].Own
}

// From returns the seconds for e from kept environment k: those of one family
// share the family's packages.
func (s *State) From(e, k int) float64 {
	if s.World.Environments[e].Family == s.World.Environments[k].Family {
		return s.World.Environments[e].Own
	}
	return s.Full(e)
}

func (s *State) add(e int) {
	s.Kept[e] = true
	for _, l := range s.World.Environments[e].Layers {
		if s.users[l]++; s.users[l] == 1 {
			s.bytes += s.World.Layers[l]
		}
	}
}

func (s *State) remove(e int) {
	delete(s.Kept, e)
	for _, l := range s.World.Environments[e].Layers {
		if s.users[l]--; s.users[l] == 0 {
			s.bytes -= s.World.Layers[l]
		}
	}
}

// build returns the least seconds for e from what is kept, and from what. Among
// equals it takes the lowest number, so that a trace has one outcome.
func (s *State) build(e int) (seconds float64, from int) {
	seconds, from = s.Full(e), -1
	for k := range s.Kept {
		if t := s.From(e, k); t < seconds || t == seconds && from >= 0 && k < from {
			seconds, from = t, k
		}
	}
	return seconds, from
}

// Rules say how much room there is, and where a build begins.
type Rules struct {
	Room  int64 // bytes
	Reuse bool  // at whatever is kept, and not at the base alone
}

// Play plays a trace. start gets the state that the policy decides on.
func Play(w World, trace []int, rules Rules, start func(*State) Policy) Outcome {
	s := &State{World: w, Kept: map[int]bool{}, users: make([]int, len(w.Layers)), Reuse: rules.Reuse}
	p := start(s)
	var o Outcome
	for i, e := range trace {
		now := int64(i + 1)
		o.Whole += s.Full(e)
		if s.Kept[e] {
			o.Hits++
			o.Saved += s.Full(e)
			p.Asked(Request{Now: now, E: e, Kept: true, From: -1})
			continue
		}
		seconds, from := s.Full(e), -1
		if rules.Reuse {
			seconds, from = s.build(e)
		}
		o.Builds++
		o.Saved += s.Full(e) - seconds
		p.Asked(Request{Now: now, E: e, From: from, Saved: s.Full(e) - seconds})
		s.add(e)
		p.Added(now, e)
		for s.bytes > rules.Room {
			v := p.Victim(now)
			s.remove(v)
			p.Evicted(v)
			o.Evicted++
		}
	}
	return o
}
