// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"errors"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/directory"
)

const (
	// copies is how many disjoint routes a message takes.
	copies = 3

	// wantRoutes is over how many routes holders have to confirm: one may lie.
	// After retryWeak tries one is enough: perhaps there is only one.
	wantRoutes = 2
	retryWeak  = 2

	// Without enough answers a piece is sent again after retryFirst, then twice
	// that, to retryMost.
	retryFirst = 4 * time.Second
	retryMost  = time.Minute

	// giveUp is how many tries a piece may be refused over wantRoutes routes.
	giveUp = 3

	// maxRoutes bounds whom a piece remembers: three copies, five more on a bad
	// day.
	maxRoutes = 8
)

// The errors of a Writer.
var (
	// ErrFull reports that holders have no room for the queue: it is full, or
	// they are.
	ErrFull = errors.New("mailbox: no room in the queue; wait until it was read")
	// ErrClock reports that holders' clocks are over an hour from this one.
	ErrClock = errors.New("mailbox: refused for its date; is the clock right?")
	// errRefused reports what only a bug or a liar makes.
	errRefused = errors.New("mailbox: refused")
)

// Done ends a Writer, with what was wrong or nil, or a Reader. Nothing comes
// behind it.
type Done struct {
	Err  error
	Left bool // Reader: there may be more, for it has reached its limits
}

func (Done) event() {}

// Writer writes one blob, or receipts, to a queue. It goes on until it is Done,
// or dropped.
type Writer struct {
	place  [32]byte
	items  []*sending
	ref    uint32
	done   bool
	events []Event
}

type sending struct {
	body   []byte
	due    time.Time // zero = done
	ref    uint32
	tries  int
	routes []identity.NodeID // that confirmed, in any try
	nos    []identity.NodeID // that refused, in this one
	why    Outcome
}

// NewWriter returns a writer of a blob of one of the three sizes; the error is
// for other ones.
func NewWriter(now time.Time, q Queue, blob []byte) (*Writer, error) {
	pieces, err := cut(q, now, blob)
	if err != nil {
		return nil, err
	}
	w := &Writer{place: q.Place()}
	for _, p := range pieces {
		w.items = append(w.items, &sending{body: putMessage{piece: p}.append(nil), due: now})
	}
	w.Advance(now)
	return w, nil
}

// NewDropper returns a writer of receipts: the blobs are to be forgotten.
func NewDropper(now time.Time, q Queue, blobs []ID) *Writer {
	w := &Writer{place: q.Place()}
	for _, r := range makeReceipts(q, blobs) {
		w.items = append(w.items, &sending{body: dropMessage{receipt: r}.append(nil), due: now})
	}
	w.Advance(now)
	w.judge()
	return w
}

// Advance sends what is due.
func (w *Writer) Advance(now time.Time) {
	for _, it := range w.items {
		if w.done || it.due.IsZero() || it.due.After(now) {
			continue
		}
		w.ref++
		it.ref, it.nos = w.ref, nil
		it.due = now.Add(min(retryFirst<<min(it.tries, 8), retryMost))
		it.tries++
		w.events = append(w.events, Ask{Ref: it.ref, To: w.place, Copies: copies, Body: it.body})
	}
}

// Answer takes an answer to an Ask. from is the neighbour through which it came:
// answers over one route count once.
func (w *Writer) Answer(now time.Time, ref uint32, from identity.NodeID, body []byte) {
	it := w.byRef(ref)
	m, err := parse(body)
	if it == nil || err != nil || w.done {
		return
	}
	a, ok := m.(takenMessage)
	switch {
	case !ok:
	case a.outcome.Held():
		if len(it.routes) < maxRoutes && !slices.Contains(it.routes, from) {
			it.routes = append(it.routes, from)
		}
		if len(it.routes) >= wantRoutes || it.tries > retryWeak {
			it.due = time.Time{}
			w.judge()
		}
	case !slices.Contains(it.nos, from) && len(it.nos) < maxRoutes:
		it.nos, it.why = append(it.nos, from), a.outcome
		if len(it.nos) >= wantRoutes && it.tries >= giveUp && len(it.routes) == 0 {
			w.finish(map[Outcome]error{directory.Full: ErrFull, directory.Busy: ErrFull, directory.WrongEpoch: ErrClock}[it.why])
		}
	}
}

// Undelivered takes the news that an Ask got no answer: it is made again a
// little sooner.
func (w *Writer) Undelivered(now time.Time, ref uint32) {
	it := w.byRef(ref)
	if w.done || it == nil || it.due.IsZero() {
		return
	}
	if len(it.routes) > 0 && it.tries > retryWeak {
		it.due = time.Time{}
		w.judge()
		return
	}
	if soon := now.Add(retryFirst / 4 << min(it.tries, 6)); it.due.After(soon) {
		it.due = soon
	}
}

func (w *Writer) judge() {
	if !slices.ContainsFunc(w.items, func(it *sending) bool { return !it.due.IsZero() }) && !w.done {
		w.done = true
		w.events = append(w.events, Done{})
	}
}

func (w *Writer) finish(err error) {
	if err == nil {
		err = errRefused
	}
	w.done = true
	w.events = append(w.events, Done{Err: err})
}

func (w *Writer) byRef(ref uint32) *sending {
	for _, it := range w.items {
		if it.ref == ref && it.tries > 0 {
			return it
		}
	}
	return nil
}

// Deadline returns when Advance is due; zero when the writer is done.
func (w *Writer) Deadline() (t time.Time) {
	for _, it := range w.items {
		if !w.done && !it.due.IsZero() && (t.IsZero() || it.due.Before(t)) {
			t = it.due
		}
	}
	return t
}

// NextEvent returns the next event: Ask or Done.
func (w *Writer) NextEvent() (Event, bool) { return pop(&w.events) }

func pop(list *[]Event) (Event, bool) {
	if len(*list) == 0 {
		return nil, false
	}
	e := (*list)[0]
	*list = (*list)[1:]
	return e, true
}
