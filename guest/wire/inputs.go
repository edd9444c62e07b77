package wire

import "sync"

// Inputs joins the streams of operation Stdin to the processes they belong to;
// either may come first. The zero value is ready.
type Inputs struct {
	mu      sync.Mutex // guards waiting
	waiting map[uint32]chan *Stream
}

// Take returns the channel on which the input for process id will come, once.
func (i *Inputs) Take(id uint32) <-chan *Stream { return i.slot(id) }

// Offer hands over the input for process id. It reports false if there was
// one already.
func (i *Inputs) Offer(id uint32, st *Stream) bool {
	select {
	case i.slot(id) <- st:
		return true
	default:
		return false
	}
}

// Drop forgets process id and resets an input that nobody took.
func (i *Inputs) Drop(id uint32) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if c, ok := i.waiting[id]; ok {
		select {
		case st := <-c:
			st.Reset()
		default:
		}
		delete(i.waiting, id)
	}
}

// slot never grows beyond what streams can be open, since each entry belongs
// to an open stream of one or the other operation.
func (i *Inputs) slot(id uint32) chan *Stream {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.waiting == nil {
		i.waiting = make(map[uint32]chan *Stream)
	}
	c := i.waiting[id]
	if c == nil {
		c = make(chan *Stream, 1)
		i.waiting[id] = c
	}
	return c
}
