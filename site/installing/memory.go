package installing

import (
	"encoding/json"
	"fmt"

	"ore"
	"ore/cluster"
	"ore/install/recipe"
	"ore/site"
)

// memory is what is kept of a Maker with machines that may go on later.
type memory struct {
	Job     ore.Job
	From    recipe.Strategy
	Discard bool
	Direct  bool `json:",omitempty"`
}

// memory returns what Resume needs.
func (m Maker) memory() json.RawMessage {
	b, err := json.Marshal(memory{m.Job, m.From, m.Discard, m.direct})
	if err != nil {
		panic("installing: a job holds only strings, numbers and lists: " + err.Error())
	}
	return b
}

// remember reads what memory returned.
func remember(id string, kept json.RawMessage) (memory, error) {
	var k memory
	if err := json.Unmarshal(kept, &k); err != nil {
		return k, fmt.Errorf("what is known of %s: %w: it was started by another version of ore: end it with 'ore down %s'", id, err, id)
	}
	return k, nil
}

// Resume returns how machines of the job id go on whose installation failed: with
// the files and steps that Mend was given last, if it was called.
func Resume(s *site.Site, id string, kept json.RawMessage, watch ore.Watcher) (cluster.Install, error) {
	k, err := remember(id, kept)
	if err != nil {
		return nil, err
	}
	m := Maker{Site: s, ID: id, Job: k.Job, From: k.From, Discard: k.Discard, Watch: watch, direct: k.Direct}
	d, err := mendedBefore(s, id)
	if err != nil || d == nil {
		return m.order, err
	}
	return m.mend(*d), nil
}
