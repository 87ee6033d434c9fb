package deploy

import (
	"context"
	"errors"
	"sync"
)

// shared does a piece of work once for all who need it at the same key. Its zero value is ready, and it is safe for
// concurrent use.
type shared[V any] struct {
	mu   sync.Mutex
	work map[string]*sharing[V]
}

type sharing[V any] struct {
	done  chan struct{} // closed when the fields below are set
	value V
	err   error
}

// do returns what work gave for the key, now or earlier, its error too. When the caller that worked was cancelled the
// next one works again.
func (s *shared[V]) do(ctx context.Context, key string, work func() (V, error)) (V, error) {
	for {
		s.mu.Lock()
		if s.work == nil {
			s.work = map[string]*sharing[V]{}
		}
		if other := s.work[key]; other != nil {
			s.mu.Unlock()
			select {
			case <-ctx.Done():
				var none V
				return none, ctx.Err()
			case <-other.done:
			}
			if isContextError(other.err) && ctx.Err() == nil {
				continue
			}
			return other.value, other.err
		}
		mine := &sharing[V]{done: make(chan struct{})}
		s.work[key] = mine
		s.mu.Unlock()
		mine.value, mine.err = work()
		if isContextError(mine.err) {
			s.mu.Lock()
			delete(s.work, key)
			s.mu.Unlock()
		}
		close(mine.done)
		return mine.value, mine.err
	}
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
