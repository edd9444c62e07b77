package caching_test

import (
	"strings"
	"testing"

	"ore/image"
)

// What is fetched is counted before it comes: what finds no room within the quota is
// refused, and nothing of it stays; what finds some by the removal of others has them go.
func TestPullKeepsTheQuota(t *testing.T) {
	for name, start := range map[string]func(*testing.T) string{"served": served, "registry": ociRegistry} {
		t.Run(name, func(t *testing.T) {
			url := start(t)
			builder := newHost(t, nil)
			b := builder.must(t)
			first, second := made(t, b, "a"), made(t, b, "bb")
			for _, m := range []image.Manifest{first, second} {
				if err := builder.ore(t, "push", string(m.Key), "--cache", url); err != nil {
					t.Fatal(err)
				}
			}
			h := newHost(t, nil)
			h.quota = first.Size() - 1
			if err := h.ore(t, "pull", string(first.Key), "--cache", url); err == nil || !strings.Contains(err.Error(), "quota") {
				t.Errorf("without room: %v", err)
			}
			if _, err := h.must(t).Cache.Path(first.Layers[0].Digest); err == nil {
				t.Error("without room: its layer is here")
			}
			h.quota = first.Size() + second.Size() - 1
			for _, m := range []image.Manifest{first, second} {
				if err := h.ore(t, "pull", string(m.Key), "--cache", url); err != nil {
					t.Fatal(err)
				}
			}
			if all, err := h.must(t).Cache.List(t.Context()); err != nil || len(all) != 1 || all[0].Key != second.Key {
				t.Errorf("with room for one: %v, %v", all, err)
			}
			if used, err := h.must(t).Cache.Used(t.Context()); err != nil || used > h.quota {
				t.Errorf("with room for one: %d bytes, %v", used, err)
			}
		})
	}
}
