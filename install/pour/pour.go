package pour

import (
	"context"
	"fmt"

	"ore"
	"ore/image"
	"ore/install/plain"
	"ore/install/pour/blob"
)

// Options say what is poured, and where.
type Options struct {
	Target   string // the folder; it exists
	Manifest image.Manifest
	From     map[ore.Digest][]string // where each layer may be had, in the order of trying: see package blob
	Client   blob.Client
	Watch    ore.Watcher // stage "pour": bytes of the layers
}

// Pour writes the tree of an image into a folder, as root. After an error the
// folder holds a part of the tree, perhaps with wrong content: it must not be
// used.
func Pour(ctx context.Context, o Options) error {
	if err := pour(ctx, o); err != nil {
		return fmt.Errorf("pour image %s: %w", o.Manifest.Key.Short(), err)
	}
	return nil
}

func pour(ctx context.Context, o Options) error {
	meter := &meter{watch: o.Watch, total: o.Manifest.Size()}
	layers := make([]*layer, len(o.Manifest.Layers))
	for i, l := range o.Manifest.Layers {
		b := blob.Blob{Digest: l.Digest, Size: l.Size, From: o.From[l.Digest]}
		var err error
		if layers[i], err = openLayer(ctx, &o.Client, b, meter); err != nil {
			return fmt.Errorf("layer %s: %w", l.Digest.Short(), err)
		}
	}
	t := merge(layers)
	if err := t.capable(o.Manifest.Capabilities); err != nil {
		return err
	}
	w := writer{plain.Writer{Root: o.Target}}
	if err := w.frame(t); err != nil {
		return err
	}
	for i, l := range layers {
		if err := l.pour(ctx, w, t.content(i)); err != nil {
			return fmt.Errorf("layer %s: %w", l.blob.Digest.Short(), err)
		}
		layers[i] = nil // its tables are not needed again
	}
	if err := w.finish(t); err != nil {
		return err
	}
	meter.end()
	return nil
}

// meterStep is how many bytes are told at once: a hundred messages for a large
// layer, not one for each packet.
const meterStep = 1 << 20

// meter counts the bytes of all layers. It is used by one goroutine at a time.
type meter struct {
	watch             ore.Watcher
	done, told, total int64
}

func (m *meter) add(n int64) {
	if m.done += n; m.done-m.told >= meterStep {
		m.told = m.done
		m.watch.Tell(ore.Event{Stage: stage, Done: m.done, Total: m.total})
	}
}

func (m *meter) end() {
	m.watch.Tell(ore.Event{Stage: stage, Done: m.done, Total: m.total, Final: true})
}

// stage is the name of what is done here, for those who watch.
const stage = "pour"
