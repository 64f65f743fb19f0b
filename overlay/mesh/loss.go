// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import "time"

const (
	// alarmShare in ten of the links lost within alarmTime are a mass failure,
	// of at least alarmLeast links.
	alarmShare = 3
	alarmTime  = 10 * time.Second
	alarmLeast = 4
	// alarmLife: so long messages set out in more copies. Links that are dead
	// and not known to be are found within the time of two keepalives.
	alarmLife = 30 * time.Second
)

// losses remembers when the last links broke, in milliseconds. Of 110 links 33
// make an alarm.
type losses struct {
	at [maxLinks*alarmShare/10 + 1]uint32
	n  int
}

// add reports whether this loss makes a mass failure, when left links stand.
func (l *losses) add(at time.Duration, left int) bool {
	l.at[l.n%len(l.at)] = uint32(at.Milliseconds())
	l.n++
	lost := 0
	for i := range min(l.n, len(l.at)) {
		if uint32(at.Milliseconds())-l.at[i] <= uint32(alarmTime.Milliseconds()) {
			lost++
		}
	}
	return lost >= alarmLeast && 10*lost >= alarmShare*(left+lost)
}

// linked is told of a link that stands, after it is in the table.
func (f *filler) linked(now time.Time, n *neighbour, t *try) {
	at := f.c.since(now)
	f.c.failed.forget(failedKey(n.id))
	if t != nil {
		f.counts.Linked++
	}
	if !f.born {
		f.born, f.bornAt, f.quiet = true, at, 0
		f.startRound(now)
	}
	if b := min(int(n.bucket), maxFar); f.far[b].tries > 0 {
		f.far[b].tries--
	}
	if t != nil && t.swap && n.rtt > 0 {
		if slow := f.slowest(int(n.bucket)); slow != nil && slow != n && n.rtt < slow.rtt*3/4 {
			f.c.release(now, slow)
			f.c.table.refresh()
		}
	}
	f.news = f.news || n.sibling
	f.c.changed = true
	f.stir(at)
}

// broke is told of a link that is gone, after it left the table.
func (f *filler) broke(now time.Time, n *neighbour) {
	at := f.c.since(now)
	for _, t := range f.forget(n) {
		f.came(at, &t, answerAbsent)
	}
	f.c.changed = true
	f.stir(at)
	if len(f.c.table.list) == 0 { // to begin anew is to join, perhaps among many
		f.born = false
	}
	if f.c.table.links < usable {
		f.round = min(f.round, at+settleDelay)
	}
	if n.spare || n.leaf() {
		return
	}
	if f.news = f.news || n.sibling; n.sibling && at-f.begun >= newsGap {
		f.lookAround(at, false)
	}
	f.far[min(int(n.bucket), maxFar)] = farState{}
	if f.lost.add(at, f.c.table.full) {
		f.c.alarm = now.Add(alarmLife)
		if at >= f.hurry {
			f.attempts, f.asking = tokens{at: at}, tokens{at: at}
			f.round = min(f.round, at)
		}
		f.hurry = at + hurryTime
	}
}

// replied is told of the answer to a question of ours for an introduction.
func (f *filler) replied(now time.Time, from *neighbour, m *message) {
	if t, answer, ok := f.answered(now, from, m); ok {
		f.came(f.c.since(now), &t, answer)
	}
}

// punchFailed is told that a punch came to nothing. A link that matters is then
// asked to be carried, by whoever introduced the two.
func (f *filler) punchFailed(now time.Time, id ID) {
	at := f.c.since(now)
	t, ours, _, theirs := f.suitor.linked(id)
	if !ours && !theirs {
		return
	}
	f.counts.Failed++
	if !ours || !t.relay {
		f.c.failed.add(at, failedKey(id), failedLife)
	}
	if ours {
		f.came(at, &t, answerAgreed)
	}
}

// came goes on after a try that came to nothing.
func (f *filler) came(at time.Duration, t *try, answer uint8) {
	f.stir(at)
	if answer != answerAgreed { // no punch: the permit comes back
		f.attempts.spent = max(0, f.attempts.spent-1)
	}
	switch {
	case answer == answerCrossing:
		return
	case answer == answerAgreed && !t.relay:
		if !t.via.gone {
			c := candidate{card: t.card, id: t.id, via: t.via, rtt: 2 * t.via.speed(), carried: t.via.carried, until: at + candidateLife}
			if f.useful(at, &c, t.goal, false) {
				f.keep(c)
			}
		}
		return
	case answer == answerBusy:
		t.via.busy = at + busyTime
	}
	f.c.failed.add(at, refusedKey(t.id, t.via.id), refusedLife)
}
