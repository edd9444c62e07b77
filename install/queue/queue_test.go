package queue

import "testing"

// Urgent work is taken first, also what becomes urgent before it is added; the
// rest in its order.
func TestQueue(t *testing.T) {
	var q Queue[string]
	q.Hasten("e")
	q.Add("a", "b", "c")
	q.Hasten("c")
	q.Add("d", "e")
	var got string
	for range 5 {
		got += q.Take()
	}
	if got != "ceabd" {
		t.Errorf("taken in the order %q", got)
	}
}
