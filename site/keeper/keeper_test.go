package keeper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ore"
	"ore/node"
	"ore/site/supervisor"
)

func TestWhatAKeeperTells(t *testing.T) {
	var out bytes.Buffer
	k := teller{out: json.NewEncoder(&out)}
	k.tell(Told{Event: &ore.Event{Stage: "reserve", Text: "4 hosts"}})
	k.tell(Told{Up: &Up{Machines: []node.Started{{Machine: node.Machine{Name: "m0"}}}, Start: json.RawMessage(`{"a":1}`)}})
	k.tell(Told{Event: &ore.Event{Text: "nobody reads this any more"}})
	var said []string
	up, err := listen(&out, func(e ore.Event) { said = append(said, e.Text) })
	if err != nil || len(up.Machines) != 1 || up.Machines[0].Name != "m0" || string(up.Start) != `{"a":1}` || strings.Join(said, "") != "4 hosts" {
		t.Errorf("%+v, %v, %q", up, err, said)
	}
	if out.Len() > 0 {
		t.Errorf("after its last line it said %s", out.String())
	}
	for text, want := range map[string]string{
		"":                           "the keeper of the machines has ended",
		"{}\n":                       "the keeper of the machines has ended",
		"what\n":                     "the keeper says",
		`{"Error":"no hosts"}`:       "no hosts",
		`{"Error":"x","Taken":true}`: supervisor.ErrTaken.Error(),
	} {
		if _, err := listen(strings.NewReader(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Who asks a keeper is led to its machines once they are up, and can end it at any
// time.
func TestAskedKeeper(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	k := &keeping{end: end}
	server := httptest.NewServer(k)
	defer server.Close()
	c := node.NewClientOver(server.Client(), server.URL)
	defer c.Close()
	if _, err := c.Machines(t.Context()); err == nil || !strings.Contains(err.Error(), "being started") {
		t.Errorf("before: %v", err)
	}
	var front http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`[{"Name":"m0"}]`)) })
	k.front.Store(&front)
	if all, err := c.Machines(t.Context()); err != nil || len(all) != 1 || all[0].Name != "m0" {
		t.Errorf("then: %+v, %v", all, err)
	}
	if ctx.Err() != nil {
		t.Error("it was ended by a question")
	}
	if err := c.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if !errors.Is(context.Cause(ctx), errDown) {
		t.Errorf("ended: %v", context.Cause(ctx))
	}
}

func FuzzListen(f *testing.F) {
	f.Add([]byte("{\"Event\":{\"Text\":\"x\"}}\n{\"Up\":{\"Start\":{}}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if up, err := listen(bytes.NewReader(b), nil); err != nil && (up.Machines != nil || up.Start != nil) {
			t.Errorf("machines and an error: %+v, %v", up, err)
		}
	})
}
