// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

const (
	// readLife bounds the reading of one queue: a full one takes fourteen turns
	// of a second, over a slow route.
	readLife = time.Minute

	// maxTurns bounds the questions with an answer, of 80 KiB each.
	maxTurns = 64

	// askAgain is the time without a whole answer after which the question is
	// asked again, maxAsks how often without any.
	askAgain = 2 * time.Second
	maxAsks  = 3

	// turnWait is how long the routes behind the first one are waited for.
	turnWait = 700 * time.Millisecond

	// routes is how many whole answers end a turn.
	routes = 3

	// maxVias bounds the neighbours listened to, maxChecks the signatures
	// checked for one of them: what a full queue needs twice over.
	maxVias   = 9
	maxChecks = 2 * MaxQueue / Small

	// maxRead bounds what a reader keeps: a queue, and what one holder had and
	// another one not.
	maxRead = 2 * MaxQueue
)

// Found brings a blob.
type Found struct {
	ID   ID
	Blob []byte
}

func (Found) event() {}

// Reader reads one queue. It finds every blob that an honest holder within reach
// has, each once.
type Reader struct {
	queue  Queue
	key    [32]byte
	place  [32]byte
	skip   []ID // not wanted
	have   map[name][]byte
	order  []name // of have, as they came
	bytes  int
	blobs  map[ID]bool // those that were told
	vias   []reading
	ref    uint32
	turn   turn
	turns  int
	end    time.Time
	done   bool
	events []Event
}

// turn is the state of one question.
type turn struct {
	refs    []uint32
	again   time.Time
	close   time.Time // zero = no whole answer yet
	answers []answer
	whole   int
	news    bool
	left    bool
}

// answer is what came of one route in a turn.
type answer struct {
	from  identity.NodeID
	seen  uint32 // bit set of parts
	parts int
	whole bool
}

// reading is a neighbour's account.
type reading struct {
	id     identity.NodeID
	checks int
}

// NewReader returns a reader of a queue. Blobs in skip are not told again; what
// was read should be dropped, or it is fetched each time.
func NewReader(now time.Time, q Queue, skip []ID) *Reader {
	r := &Reader{
		queue: q, key: q.public(), place: q.Place(), skip: skip,
		have: map[name][]byte{}, blobs: map[ID]bool{}, end: now.Add(readLife),
	}
	r.ask(now)
	return r
}

// ask begins a turn, or asks once more in it.
func (r *Reader) ask(now time.Time) {
	r.ref++
	r.turn.refs = append(r.turn.refs, r.ref)
	if r.turn.again = now.Add(askAgain); len(r.turn.refs) >= maxAsks {
		r.turn.again = time.Time{}
	}
	m := askMessage{place: r.place, names: r.order[:min(len(r.order), maxNames)]}
	r.events = append(r.events, Ask{Ref: r.ref, To: r.place, Fetch: true, Copies: copies, Body: m.append(nil)})
}

// Advance asks again, or ends the turn or the reading, when it is time.
func (r *Reader) Advance(now time.Time) {
	t := &r.turn
	switch {
	case r.done:
	case !now.Before(r.end):
		r.finish(true)
	case !t.close.IsZero() && !now.Before(t.close):
		r.over(now)
	case t.close.IsZero() && !t.again.IsZero() && !now.Before(t.again):
		r.ask(now)
	case t.close.IsZero() && t.again.IsZero() && !now.Before(r.lastCall()):
		r.over(now)
	}
}

// lastCall is when a turn without a whole answer is over: nobody is there, or
// what comes comes in parts.
func (r *Reader) lastCall() time.Time {
	return r.end.Add(-readLife + time.Duration(r.turns+1)*maxAsks*askAgain)
}

// Answer takes an answer to an Ask. from is the neighbour through which it came.
// What is not the queue's own is ignored.
func (r *Reader) Answer(now time.Time, ref uint32, from identity.NodeID, body []byte) {
	if r.done || !slices.Contains(r.turn.refs, ref) {
		return
	}
	m, err := parse(body)
	if err != nil {
		return
	}
	a, ok := m.(piecesMessage)
	if !ok {
		return
	}
	t := &r.turn
	i := slices.IndexFunc(t.answers, func(x answer) bool { return x.from == from && x.parts == a.parts && x.seen>>a.part&1 == 0 })
	if i < 0 {
		if len(t.answers) >= maxVias {
			return
		}
		i = len(t.answers)
		t.answers = append(t.answers, answer{from: from, parts: a.parts})
	}
	x := &t.answers[i]
	x.seen |= 1 << a.part
	if len(a.piece) > 0 && r.take(a.piece, from) {
		t.news = true
	}
	t.left = t.left || a.left > 0
	if !x.whole && x.seen == 1<<x.parts-1 {
		x.whole = true
		if t.whole++; t.close.IsZero() {
			t.close = now.Add(turnWait)
		}
		if t.whole >= routes {
			r.over(now)
		}
	}
}

// take keeps a piece that is new and genuine, and tells of its blob when that
// is complete.
func (r *Reader) take(b []byte, from identity.NodeID) bool {
	p, err := parsePiece(b)
	if err != nil || p.key != r.key {
		return false
	}
	n := p.name()
	if _, ok := r.have[n]; ok || r.bytes+len(p.data) > maxRead {
		return false
	}
	i := slices.IndexFunc(r.vias, func(v reading) bool { return v.id == from })
	if i < 0 {
		if len(r.vias) == maxVias {
			return false
		}
		i = len(r.vias)
		r.vias = append(r.vias, reading{id: from})
	}
	if r.vias[i].checks == maxChecks {
		return false
	}
	r.vias[i].checks++
	if !p.genuine() {
		return false
	}
	r.have[n] = slices.Clone(p.data)
	r.order = append(r.order, n)
	r.bytes += len(p.data)
	r.complete(&p)
	return true
}

func (r *Reader) complete(p *piece) {
	var data [][]byte
	for part := range uint8(parts(p.class)) {
		n := p.name()
		n[7] = part
		d, ok := r.have[n]
		if !ok || len(d) != partSize(p.class, part) {
			return
		}
		data = append(data, d)
	}
	if r.blobs[p.blob] || slices.Contains(r.skip, p.blob) {
		return
	}
	if blob := join(p.blob, data); blob != nil {
		r.blobs[p.blob] = true
		r.events = append(r.events, Found{p.blob, blob})
	}
}

// Undelivered takes the news that an Ask got no answer, or that no more come.
func (r *Reader) Undelivered(now time.Time, ref uint32) {
	t := &r.turn
	if r.done || !slices.Contains(t.refs, ref) || !t.close.IsZero() {
		return
	}
	if !t.again.IsZero() {
		t.again = now.Add(askAgain / 4)
		return
	}
	r.over(now)
}

// over ends a turn: with another one when it brought something and there is
// more.
func (r *Reader) over(now time.Time) {
	t := r.turn
	r.turns++
	if t.news && t.left && r.turns < maxTurns && len(r.order) < maxNames {
		r.turn = turn{}
		r.ask(now)
		return
	}
	r.finish(t.left || t.whole == 0)
}

func (r *Reader) finish(left bool) {
	r.done = true
	r.events = append(r.events, Done{Left: left})
}

// Deadline returns when Advance is due; zero when the reader is done.
func (r *Reader) Deadline() time.Time {
	if r.done {
		return time.Time{}
	}
	d := r.end
	for _, t := range []time.Time{r.turn.close, r.turn.again} {
		if !t.IsZero() && t.Before(d) {
			d = t
		}
	}
	if last := r.lastCall(); r.turn.close.IsZero() && r.turn.again.IsZero() && last.Before(d) {
		d = last
	}
	return d
}

// NextEvent returns the next event: Ask, Found or Done.
func (r *Reader) NextEvent() (Event, bool) { return pop(&r.events) }
