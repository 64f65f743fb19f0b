// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import "time"

const (
	// life is how long a node remembers a message: to refuse its other copies
	// and to know the way back. 31 tries of the longest timeout would take
	// longer, but routes after a mass failure took 3 s (p99).
	life = 10 * time.Second
	// maxLife: proved replies renew the memory, at most for this long; people
	// let it ring for a minute or two.
	maxLife = 3 * time.Minute
	// maxTrails bounds the messages remembered. One neighbour can bring
	// bringRate's burst and ten seconds of its rate in a life, 228, so nine of
	// them have to conspire; what is above is refused, nothing is forgotten
	// for it.
	maxTrails = 2048
	// maxHeld bounds the bytes of the bodies kept for a second try; at 3 KB a
	// ring, 340 of them. From half of it on, copies beyond the first three
	// are refused: they are the ones most likely needless.
	maxHeld = 1 << 20
	// maxOwn bounds this node's own messages on their way.
	maxOwn = 512
	// maxBacks bounds the ways back kept.
	maxBacks = 8
	// hopTries bounds how many neighbours a node gives one message: a first
	// try, six detours, and as many who refused because another copy had come
	// by. ownTries: the origin gives all copies.
	hopTries = 12
	ownTries = 2 * maxCopies
	// maxLegs bounds the copies of one message that a node takes. It refuses
	// what it has seen, so that copies keep apart, but takes another when it
	// found no way for the first (whose visited set may have been forged), or
	// when nothing came back for anotherAfter: the first then fell into a hole,
	// and the next goes to another neighbour. Among 20 % black holes, this
	// halves the messages that are lost.
	maxLegs = 3
	// maxLegsNearest: copies to the nearest nodes meet there, and part again.
	maxLegsNearest = 8
	// maxStuck bounds how many neighbours may give a leg back.
	maxStuck = 6
	// anotherAfter is less than moreAfter and more than the copies that set out
	// together differ in time.
	anotherAfter = 250 * time.Millisecond
	// keepTrails and keepTimers is the room an idle router keeps.
	keepTrails = 4
	keepTimers = 64
)

// trail is what a node remembers of a message.
type trail struct {
	trace Trace
	head  head
	tail  []byte // head and body, never changed: messages under way share it
	frame []byte // room for the first message sent on, tail in place; nil once used
	gen   uint32 // counts uses of this struct, so that old timers are known

	born, end time.Duration
	lastLeg   time.Duration // when the last copy was taken
	judged    bool

	legs  []leg
	tries []given
	backs []back // who brought it: the first copy's bringer, then others

	own      bool // this node is the origin
	direct   bool // own, and the first copy goes straight to its target
	next     bool // own, and no copy goes anywhere else
	answered bool // own: an Answered event was made
	request  uint32
	copies   uint8 // own: that set out at first

	route   Route // not zero: delivered here
	ended   uint8 // index in backs of who brought what was delivered
	proved  bool  // a reply with the secret came, or any when there is no lock
	secret  [secretLen]byte
	secretN uint8
	sent    uint8    // replies of this node
	heard   []uint64 // replies passed, see hear
	last    replyMsg // the latest reply, for copies still to come; its body is ours
}

// leg is one copy's way through this node.
type leg struct {
	nth, hops uint8 // as it came
	came      uint8 // visited nodes when it came
	back      uint8 // index of who brought it; nobody at the origin
	stuck     bool  // no way found, and said so
	returned  uint8 // by how many neighbours as stuck
	alone     uint8 // how many said that they should know the target
	detours   uint8
	cur       int8 // index of the try that has it now, -1 none
	seen      visited
}

// given is a neighbour that was given the message.
type given struct {
	to     *neighbour
	sent   time.Duration
	leg    uint8
	state  givenState
	proved bool
}

type givenState uint8

const (
	givenWaiting givenState = iota // no ACK yet
	givenTaken                     // acknowledged
	givenRefused
	givenSilent // no ACK in time
)

// back is a neighbour that brought a copy.
type back struct {
	n     *neighbour
	taken bool // its copy was not refused
	told  bool // it has the secret already
}

func (r *router) newTrail(now time.Duration, trace Trace, tail []byte) *trail {
	var t *trail
	if n := len(r.free); n > 0 {
		t, r.free = r.free[n-1], r.free[:n-1]
	} else {
		t = &trail{}
	}
	t.trace, t.tail, t.born, t.end = trace, tail, now, now+life
	t.head.set(tail)
	if r.trails == nil {
		r.trails = make(map[Trace]*trail)
	}
	r.trails[trace] = t
	r.held += len(tail)
	return t
}

// drop forgets t, which is not to be used any more.
func (r *router) drop(t *trail) {
	for i := range t.tries {
		r.settle(&t.tries[i], givenRefused)
	}
	delete(r.trails, t.trace)
	if t.route != 0 {
		delete(r.routes, t.route)
	}
	if t.own {
		r.own--
	}
	r.held -= len(t.tail) + len(t.last.body)
	clear(t.tries) // the pointers in them
	clear(t.backs)
	*t = trail{gen: t.gen + 1, legs: t.legs[:0], tries: t.tries[:0], backs: t.backs[:0], heard: t.heard[:0]}
	if len(r.free) < keepTrails {
		r.free = append(r.free, t)
	}
}

// settle ends the wait for a try's ACK.
func (r *router) settle(a *given, s givenState) {
	if a.state == givenWaiting {
		a.to.score.waiting--
	}
	a.state = s
}

// tryOf returns the index of the try given to a neighbour, -1 without.
func (t *trail) tryOf(id *ID) int {
	for i := range t.tries {
		if t.tries[i].to.id == *id {
			return i
		}
	}
	return -1
}

// addBack remembers one more way back and returns its index, maxBacks when
// there is no room.
func (t *trail) addBack(n *neighbour, taken bool) int {
	for i := range t.backs {
		if b := &t.backs[i]; b.n.id == n.id {
			b.taken = b.taken || taken
			return i
		}
	}
	if len(t.backs) < maxBacks {
		t.backs = append(t.backs, back{n: n, taken: taken})
		return len(t.backs) - 1
	}
	for i := range t.backs {
		if taken && !t.backs[i].taken {
			t.backs[i] = back{n: n, taken: true}
			return i
		}
	}
	return maxBacks
}

// extend renews the memory of a message whose replies are wanted.
func (t *trail) extend(now time.Duration) {
	t.end = max(t.end, min(now+life, t.born+maxLife))
}

// judge counts how the tries of a message went.
func (r *router) judge(t *trail) {
	if t.judged {
		return
	}
	t.judged = true
	var outcome [max(maxCopies, maxLegs, maxLegsNearest)]bool // legs that came to something
	for i := range t.tries {
		a := &t.tries[i]
		weight := t.weight(a)
		switch {
		case a.proved: // counted when it was
			outcome[a.leg] = true
		case a.state != givenRefused:
			a.to.score.add(t.head.locked(), weight, false)
			outcome[a.leg] = true
		case t.proved: // somebody else had a way
			a.to.score.add(t.head.locked(), weight*refusalWeight, false)
		}
	}
	for i := range t.legs {
		if !t.own && outcome[i] && !t.legs[i].stuck {
			t.bringer(i).n.score.brought(t.proved)
		}
	}
}

// bringer returns who brought a leg; there is none at the origin.
func (t *trail) bringer(leg int) *back { return &t.backs[t.legs[leg].back] }

// weight is what the outcome of a try counts.
func (t *trail) weight(a *given) float32 {
	if t.own {
		return 1
	}
	return t.bringer(int(a.leg)).n.score.worth()
}
