package installing

import (
	"context"
	"fmt"
	"net/http"

	"ore"
	"ore/cmd/ore/view"
	"ore/image"
	"ore/install/capture"
	"ore/install/diskimage"
	"ore/install/machine"
	"ore/install/onto"
	"ore/install/pour"
	"ore/install/pour/blob"
	"ore/install/recipe"
	"ore/netboot/relay"
	"ore/site"
)

// getter gets what a recipe names, and where the machine booted from the network
// passes it on to others as it comes.
type getter struct {
	client blob.Client
	relay  *relay.Relay // nil for none
	alone  error        // why there is none
}

// begin passes on what comes from then on. Without that, all comes from the server.
func (g *getter) begin(ctx context.Context, c relay.Config) {
	if g.relay, g.alone = relay.Start(ctx, c); g.alone == nil {
		g.client.HTTP = &http.Client{Transport: g.relay}
	}
}

// close ends that. What the machine is by then does not hang on it.
func (g *getter) close() {
	if g.relay != nil {
		_ = g.relay.Close()
	}
}

// tell tells where what came is from.
func (g *getter) tell(w ore.Watcher) {
	text := ""
	switch {
	case g.alone != nil:
		text = g.alone.Error()
	case g.relay != nil:
		c := g.relay.Counts()
		text = fmt.Sprintf("%s came from the server, and %s from other machines, which got %s", view.Bytes(c.Home), view.Bytes(c.Near), view.Bytes(c.Given))
	default:
		return
	}
	w.Tell(ore.Event{Stage: recipe.Root, Text: text, Final: true})
}

// base gets the recipe's image: a finished one is written, another one is laid
// ready for what is installed over it.
func (g *getter) base(ctx context.Context, t machine.Tree) error {
	if t.Recipe.Finished() == nil {
		err := onto.Bring(ctx, onto.Options{Target: t.Target, Recipe: t.Recipe, Client: g.client, Watch: t.Watch})
		if err == nil {
			g.tell(t.Watch)
		}
		return err
	}
	from := map[ore.Digest][]string{}
	for _, l := range t.Recipe.Image.Layers {
		from[l.Digest] = t.Recipe.Blobs[l.Digest].From
	}
	err := pour.Pour(ctx, pour.Options{Target: t.Target, Manifest: *t.Recipe.Image, From: from, Client: g.client, Watch: t.Watch})
	if err == nil {
		g.tell(t.Watch)
	}
	return err
}

// whole writes a disk image, as patient as base.
func (g *getter) whole(ctx context.Context, t diskimage.Target) error {
	t.Client = g.client
	err := diskimage.Write(ctx, t)
	if err == nil {
		g.tell(t.Watch)
	}
	return err
}

// packages installs what the image lacks.
func (g *getter) packages(ctx context.Context, t machine.Tree) error {
	o := onto.Options{Target: t.Target, Recipe: t.Recipe, Args: []string{site.InstallCommand}, Client: g.client, Watch: t.Watch}
	switch t.Recipe.Capture {
	case "":
	case recipe.Stay:
		o.Save = func(_ context.Context, m image.Manifest, s *image.Store) error {
			return capture.Leave(t.Target, m, s, t.Recipe.Image)
		}
	default:
		s := capture.Sender{To: t.Recipe.Capture, Watch: t.Watch}
		if err := s.Wanted(ctx); err == nil {
			o.Save = s.Send
		} else {
			t.Watch.Tell(ore.Event{Stage: recipe.Install, Text: fmt.Sprintf("no image is kept: %v", err)})
		}
	}
	_, err := onto.Install(ctx, o)
	return err
}
