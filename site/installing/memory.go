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
}

// memory returns what Resume needs.
func (m Maker) memory() json.RawMessage {
	b, err := json.Marshal(memory{m.Job, m.From, m.Discard})
	if err != nil {
		panic("installing: a job holds only strings, numbers and lists: " + err.Error())
	}
	return b
}

// Resume returns how machines of the job id go on whose installation failed.
func Resume(s *site.Site, id string, kept json.RawMessage, watch ore.Watcher) (cluster.Install, error) {
	var k memory
	if err := json.Unmarshal(kept, &k); err != nil {
		return nil, fmt.Errorf("what is known of %s: %w: it was started by another version of ore: end it with 'ore down %s'", id, err, id)
	}
	return Maker{Site: s, ID: id, Job: k.Job, From: k.From, Discard: k.Discard, Watch: watch}.order, nil
}
