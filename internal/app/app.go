// Package app is the GitHub App's server: it takes webhooks, and has what people order on GitHub carried out at once.
//
// It is the shortest of the three doors. What an order is, who may give it and what is answered is the desk's
// (command.Desk), the same that the workflow asks; here is only what a server adds: deliveries come in by HTTP, are
// verified, wait their turn and are not lost. With the server switched off the workflow does the same, later.
//
// A delivery travels so (start reading at [Server.Serve]):
//
//	POST /webhook   door.go    verified, told from others, put into the queue: answered within a moment, whatever happens
//	  → hear        serve.go   the desk asks who it is and claims the comment with 👀: two or three calls
//	  → lanes       lanes.go   orders wait for their shop, one at a time each; a rollback goes first
//	  → carry       serve.go   the desk carries it out and answers
//
// What a newcomer has to know:
//
//   - Nothing is kept. A claim is a reaction on GitHub, an answer is a comment, and a delivery that was not taken is on
//     GitHub's list for three days (wire.md §2d: it is never sent again by itself). When the server starts, and then every
//     few minutes, it asks for what it missed ([ledger], pure) and has the desk look for claims without an outcome.
//   - The same delivery twice is one: by its GUID here ([seen], pure), and by the claim where the GUID is no help.
//   - Who sends too much gets 503, and GitHub keeps the rest: the queue is bounded, and so is what bodies may weigh at once.
//   - On SIGTERM nothing new is taken, what is claimed is finished, and what is left over is in the log.
//   - Text in the log is cleaned, since other people wrote some of it, and holds no secret ([NewLog]).
//
// Setting the App up once is beside it: [Manifest] says what the App may do and why, and setup.go plays the page with the
// one button.
package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/github"
)

// Desk is what hears orders and carries them out: *command.Desk.
type Desk interface {
	Hear(ctx context.Context, e github.Event, kind string) (*command.Order, error)
	Carry(ctx context.Context, o *command.Order) error
	Recover(ctx context.Context) ([]*command.Order, error)
	Present(ctx context.Context, e github.Event, kind string) error
}

// Sender is what remembers deliveries and sends them again: *github.Client, as the App.
type Sender interface {
	Deliveries(ctx context.Context, since time.Time) ([]github.Sent, error)
	Redeliver(ctx context.Context, id int64) error
}

// Server takes deliveries for one repository. Set its fields, then call Serve once.
type Server struct {
	Hook       *github.Hook
	Repository string // owner/name; deliveries about others are none of ours
	// Open makes what the server cannot work without: the mirror is cloned and the desk opened. Until then deliveries are
	// refused, which GitHub remembers.
	Open   func(ctx context.Context) (Desk, error)
	Pages  *Pages       // nil: nothing is shown in a browser
	Sender Sender       // nil: what was missed is not asked for
	Log    *slog.Logger // nil discards

	Now   func() time.Time
	Queue int           // deliveries that wait and orders that are not done; with more of either, 503. 0 means 2,000
	Hears int           // deliveries that are heard at a time; 0 means 48. GitHub takes 100 requests at a time (wire.md §2e)
	Lanes int           // orders that are carried out at a time, beside rollbacks, which need no place; 0 means 100, as many requests as GitHub takes
	Drain time.Duration // how long what is claimed may take once the server has to stop; 0 means 25 s
	Every time.Duration // between two looks for what was missed; 0 means 5 minutes
	Pause time.Duration // between two requests to deliver again; 0 means 1 s, less than nothing means none

	Version, Commit string            // of the program
	Calls           func() CallCounts // requests to GitHub so far; nil: not counted
}

const (
	maxRedeliveries = 50               // in one round
	longest         = time.Hour        // an order is given up after this: nobody waits for it any more
	hearing         = 30 * time.Second // for what takes two or three calls
	giveUp          = 4 * time.Second  // for last words when the drain is over
	unwell          = time.Hour        // without one round that worked: somebody should look
)

func (s *Server) withDefaults() *Server {
	c := *s
	c.Queue, c.Hears, c.Lanes = orDefault(c.Queue, 2000), orDefault(c.Hears, 48), orDefault(c.Lanes, 100)
	c.Drain, c.Every, c.Pause = orDefault(c.Drain, 25*time.Second), orDefault(c.Every, 5*time.Minute), orDefault(c.Pause, time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &c
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
