// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// Reason says why a call ended. The numbers are the wire's (field 1 of REJECT,
// CANCEL and HANGUP), the texts are stable for programs.
type Reason uint8

// The reasons. Offline and NotFound are conclusions of this side and never
// sent; Incompatible reads as "failed" and explains itself in Detail.
const (
	HungUp       Reason = 1
	Cancelled    Reason = 2
	Elsewhere    Reason = 3
	Busy         Reason = 4
	Rejected     Reason = 5
	NoAnswer     Reason = 6
	Offline      Reason = 7
	NotFound     Reason = 8
	Expired      Reason = 9
	Denied       Reason = 10
	Transferred  Reason = 11
	Failed       Reason = 12
	Incompatible Reason = 13
)

// String returns the reason as programs read it.
func (r Reason) String() string {
	switch r {
	case HungUp:
		return "hangup"
	case Cancelled:
		return "cancelled"
	case Elsewhere:
		return "elsewhere"
	case Busy:
		return "busy"
	case Rejected:
		return "rejected"
	case NoAnswer:
		return "no-answer"
	case Offline:
		return "offline"
	case NotFound:
		return "not-found"
	case Expired:
		return "expired"
	case Denied:
		return "denied"
	case Transferred:
		return "transferred"
	}
	return "failed"
}

// Detail returns a sentence for people where the reason alone does not explain
// itself, else "".
func (r Reason) Detail() string {
	switch r {
	case Incompatible:
		return "the two sides have no codec in common"
	case Expired:
		return "the invitation is too old, or a clock is wrong by more than an hour"
	}
	return ""
}

// claimed returns the reason a peer may give in a message of type t; anything
// else (from a newer version, or a lie such as "offline") becomes the plain
// meaning of the message.
func (r Reason) claimed(t messageType) Reason {
	switch t {
	case typeReject:
		switch r {
		case Elsewhere, Busy, NoAnswer, Expired, Denied, Transferred, Failed, Incompatible:
			return r
		}
		return Rejected
	case typeCancel:
		switch r {
		case Elsewhere, NoAnswer, Failed:
			return r
		}
		return Cancelled
	}
	switch r {
	case Elsewhere, Denied, Transferred, Failed:
		return r
	}
	return HungUp
}

// Stage says how far a call had come when it ended.
type Stage uint8

// The stages: Lookup until the callee's node is known (before the machine is
// asked), Ring until there is an ANSWER, Answer until the first media is
// heard, Talk from then on.
const (
	Lookup Stage = iota
	Ring
	Answer
	Talk
)

// String returns the stage as programs read it.
func (s Stage) String() string {
	switch s {
	case Lookup:
		return "lookup"
	case Ring:
		return "ring"
	case Answer:
		return "answer"
	}
	return "talk"
}
