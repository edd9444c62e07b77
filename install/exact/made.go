package exact

import (
	"fmt"

	"ore"
	"ore/image"
	"ore/install/graph"
)

// Made tells whether an image has more than packages: what can be made from it has the
// same packages and files, and further steps.
func Made(m image.Manifest) bool { return len(m.Environment.Files)+len(m.Environment.Steps) > 0 }

// Bare returns how many layers of an image make what it has without what its steps
// did; 0 if its layers do not tell, as those of an image that a machine sent do not.
func Bare(m image.Manifest) int {
	if len(m.Environment.Steps) == 0 {
		return len(m.Layers)
	}
	key, n := bare(m.Environment), 0
	for i, l := range m.Layers {
		if l.Key == key {
			n = i + 1
		}
	}
	return n
}

func bare(env ore.Environment) ore.Key {
	env.Steps = nil
	return env.Key()
}

// further tells why the steps of env cannot go on upon an image that has files or
// steps; "" if they can. Nothing else is put over it, and nothing is taken away.
func further(candidate image.Manifest, env ore.Environment) string {
	from := candidate.Environment
	switch {
	case bare(from) != bare(env):
		return "it has files or steps, and other packages or files than asked"
	case len(candidate.Layers) < 2:
		return "it is the base alone"
	case len(candidate.Layers)+1 > image.MaxLayers:
		return fmt.Sprintf("it has %d layers already: fold it", len(candidate.Layers))
	case len(candidate.Capabilities) > 0:
		return "a step would not see the capability of /" + candidate.Capabilities[0].Path
	}
	g, err := graph.New(env)
	if err != nil {
		return err.Error()
	}
	after, why := g.After(from.Steps, candidate.Apart)
	if why == "" && after.Beside() && Bare(candidate) == 0 {
		why = "what it was before its steps is in no layer of its own"
	}
	return why
}
