package installing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"ore"
	"ore/image"
	"ore/install/capture"
	"ore/install/recipe"
	"ore/site/installing/leaving"
)

// captureAt is below which path of the depot an image is taken, before the secret.
const captureAt = "/captured/"

// capturing has one of the machines send the image of what it installs.
type capturing struct {
	maker    Maker
	key      ore.Key
	token    string
	machine  string // that has it
	receiver *capture.Receiver
	begun    time.Time
}

// capture gets ready for the image of r's environment, if packages are installed
// that no image here has. It is nil if there is nothing to keep. That it cannot
// be kept is told, and no reason to install nothing.
func (m Maker) capture(ctx context.Context, r recipe.Recipe) *capturing {
	if m.Discard || r.Finished() != nil {
		return nil
	}
	c := &capturing{maker: m, key: r.Environment.Key(), token: rand.Text(), begun: time.Now()}
	if _, err := m.Site.Cache.Find(ctx, c.key); !errors.Is(err, image.ErrMissing) {
		if err != nil {
			c.tell(err)
		}
		return nil
	}
	c.receiver = capture.New(ctx, capture.Config{
		Environment: r.Environment, Store: m.Site.Cache.Store, Most: m.Job.Machines.Disk, Keep: c.keep,
		Room: func(ctx context.Context, bytes int64) (func(), error) {
			space, err := m.Site.Cache.Reserve(ctx, bytes, "the image of "+c.key.Short())
			if err != nil {
				return nil, err
			}
			return space.Release, nil
		},
	})
	return c
}

// address is where a machine sends the image to: one elsewhere, whose depot is its own
// host's, leaves it on its disk.
func (c *capturing) address() string {
	if c.maker.Elsewhere {
		return recipe.Stay
	}
	return gateway + captureAt + c.token
}

// left is the image as one that its machine leaves on its disk.
func (c *capturing) left() leaving.Image {
	return leaving.Image{Receiver: c.receiver, Machine: c.machine, Watch: c.maker.Watch, Tell: c.tell}
}

// keep lists an image that was looked at, unless somebody has made it meanwhile:
// what this host has built itself is better known.
func (c *capturing) keep(ctx context.Context, img image.Manifest) error {
	_, err := c.maker.Site.Cache.Find(ctx, c.key)
	if err == nil {
		return nil
	}
	if !errors.Is(err, image.ErrMissing) {
		return err
	}
	// It is nobody's word, so it is not signed and not given to other caches; it is
	// built again and compared when there is time, and then signed.
	if _, err := c.maker.Site.Cache.RegisterSigned(ctx, img, image.Signature{}, time.Since(c.begun)); err != nil {
		return err
	}
	if err := c.maker.Site.Rechecker(nil).Book.Note(img.Environment, nil); err != nil {
		return err
	}
	c.maker.Watch.Tell(ore.Event{Stage: capture.Stage, Text: fmt.Sprintf("image %s, %d packages, is kept", c.key.Short(), len(img.Environment.Packages)), Final: true})
	return nil
}

// close waits for an image that has come. That it is not kept is told.
func (c *capturing) close() {
	err := c.receiver.Close()
	if err != nil && !errors.Is(err, capture.ErrNothing) { // why it sends none is for the machine to say
		c.tell(err)
	}
}

func (c *capturing) tell(err error) {
	c.maker.Watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("what was installed is not kept as an image: %v: the next machines install it again", err)})
}
