// Package queue orders work that several goroutines take: what something waits
// for comes before what was there first.
package queue

import (
	"slices"
	"sync"
)

// Queue holds work that nobody has begun. The zero value is empty. It may be
// used by several goroutines at once.
type Queue[T comparable] struct {
	mu     sync.Mutex // guards what follows
	list   []T
	urgent map[T]bool
}

// Add appends work.
func (q *Queue[T]) Add(list ...T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, list...)
}

// Take removes the first piece that is urgent, or else the first. The queue must
// not be empty.
func (q *Queue[T]) Take() T {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := max(0, slices.IndexFunc(q.list, func(x T) bool { return q.urgent[x] }))
	x := q.list[i]
	q.list = slices.Delete(q.list, i, i+1)
	return x
}

// Hasten marks pieces as urgent, whether they are in the queue yet or not.
func (q *Queue[T]) Hasten(list ...T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.urgent == nil {
		q.urgent = map[T]bool{}
	}
	for _, x := range list {
		q.urgent[x] = true
	}
}
