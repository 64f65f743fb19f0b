// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import "time"

// seenCalls remembers the calls one peer has invited us to, so that an INVITE
// works once. It holds what fits and raises a floor over what it had to forget:
// an INVITE that expires at or below the floor counts as seen. That is exact
// for as long as the peer's expiries do not jump back by more than a full list.
type seenCalls struct {
	list  []seenCall
	floor int64 // Unix seconds
}

// maxSeen calls of one peer inside the two hours in which its INVITEs can be
// valid are told apart exactly.
const maxSeen = 16

type seenCall struct {
	id      CallID
	expires int64
}

func (s *seenCalls) has(id CallID, expires time.Time) bool {
	if expires.Unix() <= s.floor && s.floor != 0 {
		return true
	}
	for _, c := range s.list {
		if c.id == id {
			return true
		}
	}
	return false
}

func (s *seenCalls) add(now time.Time, id CallID, expires time.Time) {
	// What is expired beyond doubt is refused as such and need not be listed.
	past := now.Add(-clockSkew).Unix()
	keep := s.list[:0]
	for _, c := range s.list {
		if c.expires >= past {
			keep = append(keep, c)
		}
	}
	s.list = append(keep, seenCall{id: id, expires: expires.Unix()})
	if len(s.list) <= maxSeen {
		return
	}
	oldest := 0
	for i, c := range s.list {
		if c.expires < s.list[oldest].expires {
			oldest = i
		}
	}
	s.floor = max(s.floor, s.list[oldest].expires)
	s.list = append(s.list[:oldest], s.list[oldest+1:]...)
}

// allowance is a token bucket. It counts used tokens, so that the zero value is
// full.
type allowance struct {
	used int
	last time.Time // when the last token came back
}

// take takes a token for something that a person does: an INVITE, a recording.
func (a *allowance) take(now time.Time) bool { return a.takeOf(now, inviteBurst, inviteRefill) }

// takeOf takes one of burst tokens, of which one comes back each refill.
func (a *allowance) takeOf(now time.Time, burst int, refill time.Duration) bool {
	if a.used > 0 {
		n := int(min(now.Sub(a.last)/refill, time.Duration(burst)))
		if n > 0 {
			a.used = max(a.used-n, 0)
			a.last = a.last.Add(time.Duration(n) * refill)
		}
	}
	if a.used == 0 {
		a.last = now
	}
	if a.used >= burst {
		return false
	}
	a.used++
	return true
}
