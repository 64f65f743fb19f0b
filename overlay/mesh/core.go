// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"math/rand/v2"
	"time"
)

// core is what the parts of a Machine share: who we are, the table, and the
// two queues that the driver drains.
type core struct {
	self   Card
	id     ID
	noCaps bool
	links  int           // Config.Links
	quota  int           // SetQuota
	epoch  time.Time     // birth of the machine; times in a neighbour count from here
	at     time.Duration // when it last was given the time
	rng    *rand.Rand
	table  table
	out    outbox
	events events
	failed memory
	alarm  time.Time // a mass failure was noticed; counts until then

	changed bool   // links came, went, or changed: settle soon
	seq     uint32 // the last number given to a question or introduction
}

// since turns a time into the form that neighbours keep.
func (c *core) since(now time.Time) time.Duration { return now.Sub(c.epoch) }

// massFailure reports whether many links broke just now, so that a message
// should set out in more copies.
func (c *core) massFailure(now time.Time) bool { return now.Before(c.alarm) }

const (
	// maxOut bounds what one input may make us say before the driver drains
	// the queue: an answer to every neighbour and a round of eight copies,
	// several times over. What comes behind is dropped and counted.
	maxOut = 1024
	// maxEvents likewise; one input makes a handful.
	maxEvents = 1024
	// keepQueue is the room an empty queue keeps: a hundred thousand machines
	// share one process in the simulation.
	keepQueue = 16
)

// queue is a first-in first-out list that keeps little room when empty.
type queue[T any] struct {
	list    []T
	head    int
	dropped uint64
}

func (q *queue[T]) push(v T, limit int) {
	if len(q.list)-q.head >= limit {
		q.dropped++
		return
	}
	q.list = append(q.list, v)
}

func (q *queue[T]) pop() (v T, ok bool) {
	if q.head == len(q.list) {
		return v, false
	}
	var zero T
	v, q.list[q.head] = q.list[q.head], zero
	q.head++
	if q.head == len(q.list) {
		q.head, q.list = 0, q.list[:0]
		if cap(q.list) > keepQueue {
			q.list = nil
		}
	}
	return v, true
}

// outbox holds what waits for Poll. A pushed body belongs to the outbox.
type outbox struct{ queue[Out] }

func (o *outbox) push(to ID, body []byte) { o.queue.push(Out{to, body}, maxOut) }

// events holds what waits for NextEvent.
type events struct{ queue[Event] }

func (e *events) push(v Event) { e.queue.push(v, maxEvents) }
