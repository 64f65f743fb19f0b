// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/directory"
)

// now is the time at which most tests of this package begin.
var now = time.Date(2026, 11, 22, 20, 20, 0, 0, time.UTC)

func newRand(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, 1)) }

func secretOf(n byte) (s [32]byte) { s[0] = n; return s }

func queueOf(n byte, t time.Time) Queue { return NewQueue(secretOf(n), Period(t)) }

func blobOf(size int, fill byte) []byte { return slices.Repeat([]byte{fill}, size) }

const trip = 50 * time.Millisecond

// town is a network of stores, each linked with all others. Messages take a
// fixed time, and arrive.
type town struct {
	t     testing.TB
	now   time.Time
	rng   *rand.Rand
	nodes []*holder
	queue letters
	seq   int
	jobs  []*job
}

// holder is a node; what is not nil lies in its answers' way.
type holder struct {
	id    identity.NodeID
	s     *Store
	alive bool
	deaf  bool                       // answers nothing
	lie   func(body []byte) [][]byte // answers in the store's place, unless it returns nil
}

// machine is a Reader, Writer or Store that asks.
type machine interface {
	Advance(time.Time)
	Deadline() time.Time
	NextEvent() (Event, bool)
	Answer(time.Time, uint32, identity.NodeID, []byte)
	Undelivered(time.Time, uint32)
}

// job is a reader or writer that somebody runs.
type job struct {
	m     machine
	found []Found
	done  *Done
	ended time.Time
}

// letter is a message on its way.
type letter struct {
	at  time.Time
	seq int
	do  func()
}

type letters []letter

func (l letters) Len() int { return len(l) }
func (l letters) Less(i, j int) bool {
	return l[i].at.Before(l[j].at) || l[i].at.Equal(l[j].at) && l[i].seq < l[j].seq
}
func (l letters) Swap(i, j int) { l[i], l[j] = l[j], l[i] }
func (l *letters) Push(v any)   { *l = append(*l, v.(letter)) }
func (l *letters) Pop() any {
	old := *l
	v := old[len(old)-1]
	*l = old[:len(old)-1]
	return v
}

func newTown(t testing.TB, seed uint64, n int) *town {
	w := &town{t: t, now: now, rng: newRand(seed)}
	for range n {
		w.add()
	}
	w.meet()
	return w
}

func (w *town) add() *holder {
	var id identity.NodeID
	for i := range id {
		id[i] = byte(w.rng.Uint32())
	}
	h := &holder{id: id, alive: true}
	h.s = NewStore(id, new(Memory), w.rng)
	w.nodes = append(w.nodes, h)
	return h
}

// meet tells everybody who is there.
func (w *town) meet() {
	for _, h := range w.nodes {
		var list []directory.Candidate
		for _, o := range w.nodes {
			if o != h && o.alive {
				list = append(list, directory.Candidate{ID: o.id})
			}
		}
		if h.alive {
			h.s.SetNeighbours(w.now, list)
		}
	}
}

func (w *town) nearest(to [32]byte) []*holder {
	list := slices.Clone(w.nodes)
	list = slices.DeleteFunc(list, func(h *holder) bool { return !h.alive })
	slices.SortFunc(list, func(a, b *holder) int { return distance(to, a.id, b.id) })
	return list
}

func (w *town) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, letter{w.now.Add(d), w.seq, do})
}

// carry routes what a machine asks.
func (w *town) carry(by machine, a Ask) {
	w.t.Helper()
	if len(a.Body) > MaxBody {
		w.t.Fatalf("a body of %d bytes", len(a.Body))
	}
	to := w.nearest(a.To)
	if a.Exact {
		to = slices.DeleteFunc(to, func(h *holder) bool { return h.id != a.To })
	}
	to = to[:min(len(to), max(a.Copies, 1))]
	some := false
	for _, h := range to {
		some = some || !h.deaf
		w.after(trip, func() {
			if !h.alive || h.deaf {
				return
			}
			var answers [][]byte
			if h.lie != nil {
				answers = h.lie(a.Body)
			}
			if answers == nil {
				var err error
				if answers, err = h.s.Receive(w.now, a.Body, netip.Prefix{}); err != nil {
					w.t.Errorf("refused: %v", err)
				}
			}
			w.after(trip, func() {
				for _, b := range answers {
					by.Answer(w.now, a.Ref, h.id, b)
				}
			})
		})
	}
	if !some {
		w.after(2*time.Second, func() { by.Undelivered(w.now, a.Ref) })
	}
}

func (w *town) drain() {
	for _, h := range w.nodes {
		for e, ok := h.s.NextEvent(); ok; e, ok = h.s.NextEvent() {
			if h.alive {
				w.carry(h.s, e.(Ask))
			}
		}
	}
	for _, j := range w.jobs {
		for e, ok := j.m.NextEvent(); ok; e, ok = j.m.NextEvent() {
			switch e := e.(type) {
			case Ask:
				w.carry(j.m, e)
			case Found:
				j.found = append(j.found, e)
			case Done:
				if j.done != nil {
					w.t.Error("done twice")
				}
				j.done, j.ended = &e, w.now
			}
		}
	}
	w.jobs = slices.DeleteFunc(w.jobs, func(j *job) bool { return j.done != nil })
}

// run lets time pass until f holds, or d is over.
func (w *town) run(d time.Duration, f func() bool) {
	end := w.now.Add(d)
	for {
		w.drain()
		if f != nil && f() {
			return
		}
		next := end
		if len(w.queue) > 0 && w.queue[0].at.Before(next) {
			next = w.queue[0].at
		}
		var due []machine
		for _, h := range w.nodes {
			if h.alive {
				due = append(due, h.s)
			}
		}
		for _, j := range w.jobs {
			due = append(due, j.m)
		}
		for _, m := range due {
			if at := m.Deadline(); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		w.now = later(w.now, next)
		if !w.now.Before(end) {
			w.drain()
			return
		}
		for len(w.queue) > 0 && !w.queue[0].at.After(w.now) {
			heap.Pop(&w.queue).(letter).do()
		}
		for _, m := range due {
			if at := m.Deadline(); !at.IsZero() && !at.After(w.now) {
				m.Advance(w.now)
			}
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (w *town) start(m machine) *job {
	j := &job{m: m}
	w.jobs = append(w.jobs, j)
	return j
}

func (w *town) finish(j *job) *job {
	w.t.Helper()
	w.run(5*time.Minute, func() bool { return j.done != nil })
	if j.done == nil {
		w.t.Fatal("it does not end")
	}
	return j
}

func (w *town) write(q Queue, blob []byte) error {
	w.t.Helper()
	m, err := NewWriter(w.now, q, blob)
	if err != nil {
		return err
	}
	return w.finish(w.start(m)).done.Err
}

func (w *town) read(q Queue) *job {
	w.t.Helper()
	return w.finish(w.start(NewReader(w.now, q, nil)))
}

func (w *town) dropAll(q Queue, ids ...ID) {
	w.t.Helper()
	if err := w.finish(w.start(NewDropper(w.now, q, ids))).done.Err; err != nil {
		w.t.Error(err)
	}
}

// held counts the holders that have all pieces of a blob.
func (w *town) held(q Queue, blob []byte) (n int) {
	class, _ := sizeClass(len(blob))
	for _, h := range w.nodes {
		if k := h.s.find(q.Place()); h.alive && k != nil {
			have := 0
			for _, it := range k.pieces {
				if it.blob == IDOf(blob) {
					have++
				}
			}
			if have == parts(class) {
				n++
			}
		}
	}
	return n
}

func ids(list []Found) (out []ID) {
	for _, f := range list {
		out = append(out, f.ID)
	}
	return out
}

func Example() {
	t := &testing.T{}
	w := newTown(t, 1, 20)
	secret := [32]byte{1, 2, 3} // of two people
	q := Queues(secret, now)[0]
	w.write(q, blobOf(Small, 'x')) // sealed by the layer above
	for _, f := range w.read(q).found {
		fmt.Printf("%d bytes of %q\n", len(f.Blob), f.Blob[0])
		w.dropAll(q, f.ID)
	}
	fmt.Println(len(w.read(q).found), "left")
	// Output:
	// 1024 bytes of 'x'
	// 0 left
}
