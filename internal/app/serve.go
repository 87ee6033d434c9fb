package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvick/shopfleet/internal/command"
)

// state is how far the server is.
type state int32

const (
	starting state = iota
	accepting
	draining
)

func (s state) String() string {
	return [...]string{"starting", "accepting", "draining"}[s]
}

// running is a server at work.
type running struct {
	*Server
	desk Desk

	state  atomicState
	began  time.Time
	weight atomic.Int64
	seen   *seen
	urgent chan delivered
	calm   chan delivered
	lanes  *lanes
	count  *counters

	recovered atomic.Int64 // when a round last went well; Unix nanoseconds
	lost      atomic.Int64
	soon      chan struct{} // something went wrong: look again before it is time

	gate  sync.RWMutex    // nothing enters the queues once it was locked to drain them
	leave chan struct{}   // closed when nothing more comes into the queues
	stop  chan struct{}   // closed when what is in them is left to the next start
	work  context.Context // what is heard and carried out runs in it
	carry sync.WaitGroup
}

type atomicState struct{ v atomic.Int32 }

func (s *atomicState) Load() state   { return state(s.v.Load()) }
func (s *atomicState) Store(x state) { s.v.Store(int32(x)) }

// LeftError says that the server stopped before everything was done. What is left is found again by the next start.
type LeftError struct{ Orders, Deliveries int }

func (e *LeftError) Error() string {
	return fmt.Sprintf("stopped with %d orders under way and %d deliveries unheard", e.Orders, e.Deliveries)
}

// Hint says what to do next, in one line.
func (e *LeftError) Hint() string {
	return "start it again: what was not finished is found on GitHub, and finished or reported"
}

// Serve takes deliveries on a listener until ctx is done; then it takes no more, finishes what is claimed and returns nil,
// or a *LeftError when that did not suffice. The listener is closed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	r := &running{Server: s.withDefaults(), count: newCounters(), soon: make(chan struct{}, 1)}
	r.seen, r.lanes = newSeen(10*r.Queue), newLanes(r.Lanes)
	r.urgent, r.calm = make(chan delivered, r.Queue), make(chan delivered, r.Queue)
	r.began = r.Now()
	r.recovered.Store(r.began.UnixNano())

	server := slow(r.handler(), &logWriter{r.Log})
	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(l) }()
	defer server.Close()
	r.Log.Info("listening", "address", l.Addr().String(), "version", r.Version)

	desk, err := r.Open(ctx)
	if ctx.Err() != nil {
		return nil // nothing was taken yet
	}
	if err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	r.desk = desk
	ctx, end := context.WithCancel(ctx)
	defer end()

	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	r.work, r.leave, r.stop = work, make(chan struct{}), make(chan struct{})
	var hearers sync.WaitGroup
	for range r.Hears {
		hearers.Go(func() { r.hearAll(r.urgent) })
	}
	for range max(r.Hears/4, 1) {
		hearers.Go(func() { r.hearAll(r.calm) })
	}
	hearers.Go(func() { r.lookAgain(ctx) })
	r.state.Store(accepting)
	r.Log.Info("accepting deliveries", "repository", r.Repository)

	select {
	case <-ctx.Done():
	case err = <-stopped:
		err = fmt.Errorf("listening: %w", err)
		end()
	}
	return errors.Join(err, r.drain(cancel, &hearers))
}

// drain finishes what is claimed, as long as that may take.
func (r *running) drain(cancel context.CancelCauseFunc, hearers *sync.WaitGroup) error {
	r.gate.Lock()
	r.state.Store(draining)
	r.gate.Unlock()
	r.Log.Info("draining", "queued", len(r.urgent)+len(r.calm), "orders", len(r.lanes.left()), "for", r.Drain.String())
	over, half := time.NewTimer(r.Drain), time.NewTimer(r.Drain/2)
	defer over.Stop()
	defer half.Stop()
	close(r.leave)
	carried := make(chan struct{})
	go func() {
		hearers.Wait()
		r.carry.Wait()
		close(carried)
	}()
	for waiting := true; waiting; {
		select {
		case <-carried:
			waiting = false
		case <-half.C:
			// What is claimed now may not be finished any more, and would wait until somebody's patience with the claim ends.
			// What is not claimed the next start hears at once.
			close(r.stop)
		case <-over.C:
			cancel(errStops)
			waiting = false
			select {
			case <-carried:
			case <-time.After(giveUp):
			}
		}
	}
	left := &LeftError{Deliveries: len(r.urgent) + len(r.calm)}
	for _, o := range r.lanes.left() {
		left.Orders++
		r.Log.Error("an order is left", "verb", o.Verb, "shop", o.Shop, "by", o.By, "url", o.URL)
	}
	if left.Orders+left.Deliveries > 0 {
		r.Log.Error("stopped before everything was done", "orders", left.Orders, "deliveries", left.Deliveries)
		return left
	}
	r.Log.Info("stopped, nothing is left")
	return nil
}

var errStops = errors.New("the server stops")

// hearAll hears what is in a queue; in the end until it is empty, or until it is to be left as it is.
func (r *running) hearAll(queue <-chan delivered) {
	for {
		select {
		case <-r.stop:
			return
		default:
		}
		select {
		case d := <-queue:
			r.hear(d)
			continue
		default:
		}
		select {
		case d := <-queue:
			r.hear(d)
		case <-r.leave: // nothing comes any more
			if len(queue) == 0 {
				return
			}
		}
	}
}

// hear asks the desk what a delivery holds.
func (r *running) hear(d delivered) {
	ctx, cancel := context.WithTimeout(r.work, hearing)
	defer cancel()
	var o *command.Order
	err := r.safely(func() (err error) {
		if classOf(d.Kind, d.Event.Action) == calm {
			return r.desk.Present(ctx, d.Event, d.Kind)
		}
		o, err = r.desk.Hear(ctx, d.Event, d.Kind)
		return err
	})
	log := r.Log.With("delivery", d.GUID, "event", d.Kind, "action", d.Event.Action)
	switch {
	case err != nil:
		r.seen.put(d.GUID, failed)
		r.count.hear("failed")
		log.Error("a delivery could not be heard; it is looked for again", "error", err)
		select {
		case r.soon <- struct{}{}:
		default:
		}
	case o == nil:
		r.seen.put(d.GUID, done)
		r.count.hear("nothing")
	default:
		took := r.Now().Sub(d.at)
		r.seen.put(d.GUID, done)
		r.count.hear("order")
		r.count.claimed(took)
		log.Info("an order is claimed", "verb", o.Verb, "shop", o.Shop, "by", o.By, "url", o.URL, "after_ms", took.Milliseconds())
		r.enter(o)
	}
}

// enter puts a claimed order into its lane.
func (r *running) enter(o *command.Order) {
	if !r.lanes.add(o) {
		r.Log.Warn("an order is here already", "verb", o.Verb, "shop", o.Shop, "url", o.URL)
		return
	}
	r.pump()
}

// pump begins what may begin. Who calls it is among hearers or carriers, for which a drain waits.
func (r *running) pump() {
	for r.work.Err() == nil {
		o := r.lanes.next()
		if o == nil {
			return
		}
		r.carry.Go(func() {
			if r.carryOut(o) {
				r.lanes.finished(o)
				r.pump()
			}
		})
	}
}

// carryOut carries out an order, and says whether it is over: one that was cut off is not.
func (r *running) carryOut(o *command.Order) bool {
	ctx, cancel := context.WithTimeout(r.work, longest)
	defer cancel()
	start := r.Now()
	err := r.safely(func() error { return r.desk.Carry(ctx, o) })
	log := r.Log.With("verb", o.Verb, "shop", o.Shop, "by", o.By, "url", o.URL, "took_ms", r.Now().Sub(start).Milliseconds())
	switch {
	case err != nil && r.work.Err() != nil:
		r.count.order(o.Verb, "cut off")
		log.Error("an order was cut off", "error", err)
		return false
	case err != nil:
		r.count.order(o.Verb, "failed")
		log.Error("an order failed", "error", err)
	default:
		r.count.order(o.Verb, "answered")
		log.Info("an order is answered")
	}
	return true
}

// safely keeps a panic to the order or delivery that it is about: the others' are none of its business. Where it was is
// in the log.
func (r *running) safely(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.count.hear("panic")
			r.Log.Error("a panic", "value", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return do()
}

var errPanic = errors.New("a panic; see the log")

// lookAgain looks for what was missed: at once, and then from time to time.
func (r *running) lookAgain(ctx context.Context) {
	ledger := newLedger()
	for {
		switch err := r.safely(func() error { return r.look(ctx, ledger) }); {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.count.round("failed")
			r.Log.Error("what was missed could not be looked for", "error", err)
		default:
			r.count.round("done")
			r.recovered.Store(r.Now().UnixNano())
		}
		next := time.NewTimer(r.Every)
		select {
		case <-r.soon:
			next.Reset(min(r.Every/10, 30*time.Second))
		case <-next.C:
			continue
		case <-ctx.Done():
		}
		select {
		case <-next.C:
		case <-ctx.Done():
			return
		}
	}
}

// look is one round: what GitHub could not deliver is asked for, then claims without an outcome are looked for.
func (r *running) look(ctx context.Context, ledger *ledger) error {
	var wrong error
	if r.Sender != nil {
		wrong = r.redeliver(ctx, ledger)
	}
	if ctx.Err() != nil {
		return wrong
	}
	orders, err := r.desk.Recover(r.work) // what it claims is finished, whoever wants to stop
	for _, o := range orders {
		r.Log.Info("an order is taken up", "verb", o.Verb, "shop", o.Shop, "by", o.By, "url", o.URL)
		r.enter(o)
	}
	return errors.Join(wrong, err)
}

func (r *running) redeliver(ctx context.Context, ledger *ledger) error {
	now := r.Now()
	list, err := r.Sender.Deliveries(ctx, ledger.since(now))
	if err != nil {
		return err
	}
	ledger.learn(now, list, r.seen.of)
	if n := int64(ledger.lost(r.seen.of)); n != r.lost.Swap(n) && n > 0 {
		r.Log.Warn("deliveries went wrong every time and are not asked for any more", "count", n)
	}
	for i, d := range ledger.due(now, maxRedeliveries, r.seen.of) {
		if i > 0 && r.Pause > 0 { // wire.md §2e: a second between writes
			select {
			case <-time.After(r.Pause):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if len(r.urgent) > r.Queue/2 {
			return nil // there is no hurry
		}
		ledger.asked(d, r.Now())
		if err := r.Sender.Redeliver(ctx, d.id); err != nil {
			r.count.redelivery("failed")
			r.Log.Error("a delivery could not be asked for again", "delivery", d.guid, "error", err)
			continue
		}
		r.count.redelivery("asked")
		r.Log.Info("a delivery is asked for again", "delivery", d.guid, "time", d.again)
	}
	return nil
}
