// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"slices"
	"time"
)

// filler decides which links to seek: first those near our own ID, by asking
// whoever is nearest for nodes that are nearer still, then some in every
// bucket farther off.
type filler struct {
	suitor
	born      bool          // there is a link, or was since the last one went
	bornAt    time.Duration // when the first of these stood
	quiet     time.Duration // a newly started node makes only its first links before; 0 = not drawn
	round     time.Duration // the next look at everything
	begun     time.Duration // when this round began
	judge     bool          // a round began: is a neighbour worth replacing?
	wander    int           // questions left for those a little farther off
	news      bool          // a sibling came or went since the last round
	still     bool          // none had when this one began
	hurry     time.Duration // until then after a mass failure: work faster
	settleAt  time.Duration // never = nothing to settle
	room      uint32        // buckets with room for others, as we have told them
	roomAt    time.Duration // when we may tell them again
	wake      time.Duration
	blocked   bool // there are more questions than may be asked now
	attempts  tokens
	asking    tokens
	questions []question
	cands     []candidate
	far       [maxFar + 1]farState
	lost      losses
}

// farState paces the questions for one bucket.
type farState struct {
	next  time.Duration
	tries uint8
	heard uint8         // answers since it came short
	until time.Duration // then those that came have to do
}

// question is a FIND on its way.
type question struct {
	request uint32
	to      *neighbour
	goal    int16
	swap    bool
	until   time.Duration
}

const (
	// roundTime is how often a node looks after all its goals: repair within a
	// minute of any loss (design §6).
	roundTime = time.Minute
	// questionLife is longer than a slow link takes.
	questionLife = 4 * time.Second
	// maxQuestions on their way at a time.
	maxQuestions = 4
	// settleDelay gathers changes: roles are worked out once for all of them.
	settleDelay = time.Second
	// usable links make a node that can call and be called; they are sought
	// without any jitter.
	usable = 4
	// maxJitter bounds the wait of a node that starts while many do.
	maxJitter = 30 * time.Second
	// A neighbour that has passed on less than calm introductions of late sees
	// no rush; at crowded the jitter is full: a dozen joins within half a minute.
	calm, crowded = 32, 255
	// nearWidth of the nearest nodes are asked for nodes near us in each round,
	// joinWidth while a node looks for its place, and beside them wanderers of
	// the nearest aroundUs: a link that needs to be carried needs a neighbour
	// that can, which need not be one of the nearest.
	nearWidth, joinWidth = 2, 5
	wanderers, aroundUs  = 2, 16
	// stillWanderers are all that are asked where no sibling came or went: who
	// comes finds us by itself.
	stillWanderers = 1
	// newsGap is the least time between two looks for news of a lost sibling.
	newsGap = 5 * time.Second
	// joinTime is how long a node counts as newly started.
	joinTime = 3 * time.Minute
	// A bucket that stays short is asked for after farFirst, then twice as
	// long, up to farLast.
	farFirst, farLast = 2 * time.Second, 4 * time.Minute
	// hearings is how many answers a node compares before it adds to the links
	// that it has in a bucket: in networks of 1,000 a ring takes 133 ms then (99 %:
	// 286), with one answer 145 (316), with three 139 (298).
	hearings = 5
	// hurryTime after a mass failure repairs go at hurryRate.
	hurryTime = time.Minute
	// Each round a node asks for faster links in one bucket, and while it is new,
	// when it has to take whoever has room, in three.
	improveFirst = 3
	improveTime  = 10 * time.Minute
	// busyTime is how long a neighbour that is busy is left alone.
	busyTime = 5 * time.Second
)

// attemptRate paces link making: eight at once, the rest of some forty within
// three minutes, as half of them are asked for by others and some fail;
// hurryRate the same after a mass failure. A refusal costs no punch and does not
// count; askRate paces the questions themselves, FIND and INTRODUCE.
func attemptRate() rate { return rate{0.5, 8} }
func hurryRate() rate   { return rate{2, 8} }
func askRate() rate     { return rate{3, 24} }

func (f *filler) init(c *core) {
	f.c = c
	f.round, f.settleAt, f.wake = never, never, never
	f.room = anywhere
}

// stir makes run look at everything.
func (f *filler) stir(at time.Duration) {
	f.wake = min(f.wake, at)
}

// restart begins a round at once, and forgets what was in vain.
func (f *filler) restart(now time.Time) {
	f.far = [maxFar + 1]farState{}
	if f.born {
		f.round = f.c.since(now)
		f.stir(f.round)
	}
}

func (f *filler) deadline() time.Time {
	if f.wake == never {
		return time.Time{}
	}
	return f.c.epoch.Add(f.wake)
}

// run does what is due.
func (f *filler) run(now time.Time) {
	at := f.c.since(now)
	f.c.at = at
	if f.c.changed {
		f.c.changed = false
		f.settleAt = min(f.settleAt, at+settleDelay)
		f.stir(at)
	}
	if at < f.wake {
		return
	}
	f.questions = slices.DeleteFunc(f.questions, func(q question) bool { return q.until <= at || q.to.gone })
	if f.cands = slices.DeleteFunc(f.cands, func(c candidate) bool { return c.until <= at }); len(f.cands) == 0 {
		f.cands = nil
	}
	for {
		t, ok := f.expired(at)
		if !ok {
			break
		}
		if t.state == punching && !t.relay {
			f.c.failed.add(at, failedKey(t.id), failedLife)
			f.came(at, &t, answerAgreed)
		} else {
			f.came(at, &t, answerDeclined)
		}
	}
	if at >= f.settleAt {
		f.settleAt = never
		f.c.settle(now)
		f.tell(at)
	}
	if at >= f.round {
		f.startRound(now)
	}
	f.start(now)
	f.ask(now)
	f.schedule(at)
}

func (f *filler) startRound(now time.Time) {
	at := f.c.since(now)
	f.lookAround(at, !f.news && f.c.table.full >= f.c.table.siblings)
	f.judge = true
	f.round = at + roundTime*9/10 + time.Duration(f.c.rng.Int64N(int64(roundTime/5)))
	f.settleAt = min(f.settleAt, at+settleDelay)
	f.improve(now)
}

// lookAround has those near us asked again, few of them where all is still.
func (f *filler) lookAround(at time.Duration, still bool) {
	f.begun, f.news, f.still, f.wander = at, false, still, wanderers
	if still {
		f.wander = stillWanderers
	}
}

// pace returns the rate of attempts.
func (f *filler) pace(at time.Duration) rate {
	if at < f.hurry {
		return hurryRate()
	}
	return attemptRate()
}

// start makes links out of candidates.
func (f *filler) start(now time.Time) {
	at := f.c.since(now)
	for len(f.tries) < maxTries && f.mayBegin(at) && f.attempts.wait(at, f.pace(at)) <= at && f.asking.wait(at, askRate()) <= at {
		c, ok := f.choose(at)
		if !ok {
			return
		}
		f.attempts.take(at, f.pace(at))
		f.asking.take(at, askRate())
		f.begin(now, try{card: c.card, id: c.id, via: c.via, goal: c.goal, relay: c.relay, swap: c.swap})
	}
}

// mayBegin holds a node back that starts among many, once it is usable, and
// any node that has no room.
func (f *filler) mayBegin(at time.Duration) bool {
	have := f.c.table.links + len(f.tries)
	return (at >= f.quiet || have < usable) && have < f.c.limit()+nearSlack
}

// nearSlack lets a full node make links to siblings; slower links go for them.
const nearSlack = 2

// ask sends the questions that are due.
func (f *filler) ask(now time.Time) {
	at := f.c.since(now)
	f.blocked = false
	if !f.born || at < f.quiet && f.c.table.links >= usable {
		return
	}
	if !f.askNear(now) {
		f.blocked = true
		return
	}
	if f.c.self.Leaf || f.c.table.full < f.c.table.siblings {
		return
	}
	for i := 0; i <= f.c.table.depth; i++ {
		g := &f.far[i]
		goal := int16(i)
		if !f.short(i) {
			g.heard = 0
			continue
		}
		if f.have(goal) == 0 && g.heard >= hearings {
			g.heard = 0 // all of no use
		}
		if g.next > at || f.have(goal) > 0 && !f.hearing(at, goal) || slices.ContainsFunc(f.questions, func(q question) bool { return q.goal == goal }) {
			continue
		}
		h := f.helper(at, i)
		if h == nil {
			g.next = at + farFirst
			continue
		}
		if !f.question(now, question{to: h, goal: goal}) {
			f.blocked = true
			return
		}
		g.next = at + min(farLast, farFirst<<min(g.tries, 16))
		g.tries = min(g.tries+1, 200)
	}
}

// askNear asks those near us for nodes that are nearer still. It returns false
// when some of that must wait.
func (f *filler) askNear(now time.Time) bool {
	at := f.c.since(now)
	width := nearWidth
	switch {
	case at-f.bornAt < joinTime || at < f.hurry:
		width = joinWidth
	case f.still:
		width = 0
	}
	var room [aroundUs]*neighbour
	near := f.c.table.nearest(room[:0], f.c.id, aroundUs, (*neighbour).mute)
	for i, n := range near {
		if i >= width && (f.wander == 0 || n.relayed || f.c.rng.IntN(len(near)-i) >= f.wander) {
			continue
		}
		if n.asked > 0 && n.asked >= f.begun || n.busy > at {
			continue
		}
		if !f.question(now, question{to: n, goal: nearGoal}) {
			return false
		}
		if i >= width {
			f.wander--
		}
	}
	return true
}

// short reports whether a bucket has room for links of our own wanting.
func (f *filler) short(i int) bool {
	return int(f.c.table.bucket(i).all)+f.trying(int16(i)) < f.c.want() && f.c.table.links < f.c.farLimit()
}

// hearing says whether a bucket waits for more answers before the next link.
func (f *filler) hearing(at time.Duration, goal int16) bool {
	if goal == nearGoal || f.c.table.bucket(int(goal)).all == 0 || at-f.bornAt >= joinTime {
		return false
	}
	g := &f.far[goal]
	return g.heard > 0 && g.heard < hearings && at < g.until
}

// mute neighbours are not asked anything.
func (n *neighbour) mute() bool { return n.leaf() || n.spare }

// helper chooses whom to ask for nodes of a bucket: a link in it, or a deeper
// one, whose bucket it is as well. Of three that chance names, the fastest: what
// is near to it is near to us.
func (f *filler) helper(at time.Duration, bucket int) *neighbour {
	var best *neighbour
	var room [2 * maxLinks]*neighbour
	fit := room[:0]
	for _, n := range f.c.table.list {
		if int(n.bucket) >= bucket && !n.mute() && n.busy <= at {
			fit = append(fit, n)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	for range 3 {
		n := fit[f.c.rng.IntN(len(fit))]
		if (best == nil || n.speed() < best.speed()) && f.c.diverse(ID{}, 0, n.id) {
			best = n
		}
	}
	return best
}

// question sends FIND. It returns false when that must wait.
func (f *filler) question(now time.Time, q question) bool {
	at := f.c.since(now)
	if len(f.questions) == maxQuestions || !f.asking.take(at, askRate()) {
		return false
	}
	f.c.seq++
	q.request, q.until = f.c.seq, at+questionLife
	m := message{request: q.request, id: f.c.id, count: siblings + 2}
	if q.goal != nearGoal {
		m.id, m.bits, m.count = f.pointIn(int(q.goal)), int(q.goal)+1, maxCards
		if f.c.table.bucket(int(q.goal)).all < minFar {
			m.flags = flagScarce
		}
	} else {
		q.to.asked = max(at, 1)
	}
	f.questions = append(f.questions, q)
	f.c.out.push(q.to.id, m.append(nil, typeFind))
	return true
}

// pointIn returns a random ID of a bucket.
func (f *filler) pointIn(bucket int) ID {
	p := f.c.id
	for i := bucket / 8; i < len(p); i++ {
		random := byte(f.c.rng.Uint32())
		if i == bucket/8 {
			keep := byte(0xff) << (8 - bucket%8)
			flip := byte(0x80) >> (bucket % 8)
			random = p[i]&keep | ^p[i]&flip | random&^keep&^flip
		}
		p[i] = random
	}
	return p
}

// found takes CARDS.
func (f *filler) found(now time.Time, from *neighbour, m *message) {
	i := slices.IndexFunc(f.questions, func(q question) bool { return q.request == m.request && q.to == from })
	if i < 0 {
		return
	}
	q := f.questions[i]
	f.questions = slices.Delete(f.questions, i, i+1)
	from.carried = m.carried
	at := f.c.since(now)
	if f.quiet == 0 && at-f.bornAt < joinTime && m.load > calm {
		share := float64(m.load-calm) / (crowded - calm)
		f.quiet = at + time.Duration(f.c.rng.Float64()*share*float64(maxJitter))
	}
	f.receive(now, q, m)
	if q.goal != nearGoal && !q.swap && f.have(q.goal) > 0 {
		g := &f.far[q.goal]
		if g.heard++; g.heard == 1 {
			g.until = at + questionLife
		}
		if f.hearing(at, q.goal) {
			g.next, g.tries = at, g.tries-min(g.tries, 1)
		}
	}
	f.stir(at)
}

// improve looks for faster links in place of the slowest of some far buckets.
func (f *filler) improve(now time.Time) {
	if f.c.self.Leaf || f.c.table.depth == 0 {
		return
	}
	at := f.c.since(now)
	n := 1
	if at-f.bornAt < improveTime {
		n = improveFirst
	}
	for range n {
		i := f.c.rng.IntN(f.c.table.depth)
		if slow := f.slowest(i); slow == nil || int(f.c.table.bucket(i).all) < f.c.want() {
			continue
		}
		if h := f.helper(at, i); h != nil {
			f.question(now, question{to: h, goal: int16(i), swap: true})
		}
	}
}

// slowest returns the link of a bucket that a faster one may replace.
func (f *filler) slowest(bucket int) *neighbour {
	var slow *neighbour
	for _, n := range f.c.table.list {
		if int(n.bucket) != bucket || n.mute() || n.sibling || n.anchor || n.claims != 0 || n.rtt == 0 {
			continue
		}
		if slow == nil || n.rtt > slow.rtt {
			slow = n
		}
	}
	return slow
}

// tell sends CARD to whom our state is news. Which buckets have room changes
// more often than the rest, and may be old news.
func (f *filler) tell(at time.Duration) {
	room := f.c.room()
	if room != f.room && at >= f.roomAt {
		f.room, f.roomAt = room, at+roomTime
	} else if room != f.room {
		f.settleAt = min(f.settleAt, f.roomAt)
	}
	for _, n := range f.c.table.list {
		f.tellOne(n)
	}
}

// roomTime is the least time between two CARDs about room: some ten a minute
// for each link that comes or goes would cost more than refusals do.
const roomTime = 10 * time.Second

func (f *filler) tellOne(n *neighbour) {
	m := message{state: f.c.self.state(), room: f.room}
	if n.sibling {
		m.state |= byte(claimSibling) << claimShift
	}
	if !n.spare && f.c.table.bucket(int(n.bucket)).all <= minFar {
		m.state |= byte(claimScarce) << claimShift
	}
	if m.state != n.told || m.room != n.toldRoom && !n.leaf() {
		n.told, n.toldRoom = m.state, m.room
		f.c.out.push(n.id, m.append(nil, typeCard))
	}
}

// schedule works out when to run next.
func (f *filler) schedule(at time.Duration) {
	next := min(f.round, f.settleAt, f.suitor.next())
	for _, q := range f.questions {
		next = min(next, q.until)
	}
	for i := range f.cands {
		next = min(next, f.cands[i].until)
	}
	if f.quiet > at {
		next = min(next, f.quiet)
	}
	if len(f.cands) > 0 && len(f.tries) < maxTries && f.mayBegin(at) {
		next = min(next, max(f.attempts.wait(at, f.pace(at)), f.asking.wait(at, askRate()), at+candidateTick))
	}
	if f.blocked && len(f.questions) < maxQuestions {
		next = min(next, max(f.asking.wait(at, askRate()), at+candidateTick))
	}
	if f.born && !f.c.self.Leaf && f.c.table.full >= f.c.table.siblings {
		for i := 0; i <= f.c.table.depth; i++ {
			if f.far[i].next > at && f.short(i) && f.have(int16(i)) == 0 {
				next = min(next, f.far[i].next)
			}
		}
	}
	f.wake = next
}

// candidateTick is the least time between two looks at what has to wait.
const candidateTick = 250 * time.Millisecond
