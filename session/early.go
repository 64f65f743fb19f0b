// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

const (
	// earlyPackets: media overtakes its ANSWER by one trip of the ring's route
	// at most; 16 packets are 320 ms of voice. Longer ones are pictures, which
	// would push it out, and begin with a key frame at the screen's wish anyway.
	earlyPackets = 16
	earlySize    = 512
)

// Early keeps the first media of a callee while its ANSWER, which names SSRC
// and keys, is still on its way. Anybody can write into it, so it is a fixed
// ring that forgets the oldest packet, and it keeps nothing unless a call is
// waiting. It is not safe for concurrent use. The zero value is ready.
type Early struct {
	waiting int
	slots   *[earlyPackets]earlyPacket // made at the first Expect
	next    int
}

type earlyPacket struct {
	n int // 0 = empty
	b [earlySize]byte
}

// Expect notes that one more call waits for its ANSWER.
func (e *Early) Expect() {
	if e.slots == nil {
		e.slots = new([earlyPackets]earlyPacket)
	}
	e.waiting++
}

// Release notes that a call waits no longer, answered or not. After the last
// one everything kept is forgotten. Drain first.
func (e *Early) Release() {
	if e.waiting == 0 {
		return
	}
	if e.waiting--; e.waiting == 0 {
		for i := range e.slots {
			e.slots[i].n = 0
		}
	}
}

// Put copies a packet of unknown SSRC and tells whether it was kept.
func (e *Early) Put(pkt []byte) bool {
	if e.waiting == 0 || len(pkt) > earlySize {
		return false
	}
	if _, ok := SSRCOf(pkt); !ok {
		return false
	}
	s := &e.slots[e.next]
	s.n = copy(s.b[:], pkt)
	e.next = (e.next + 1) % earlyPackets
	return true
}

// Drain hands every packet of ssrc to f, oldest first, and forgets it. The
// bytes are valid during the call only.
func (e *Early) Drain(ssrc uint32, f func(pkt []byte)) {
	if e.slots == nil {
		return
	}
	for i := range earlyPackets {
		s := &e.slots[(e.next+i)%earlyPackets]
		if got, ok := SSRCOf(s.b[:s.n]); ok && got == ssrc {
			n := s.n
			s.n = 0
			f(s.b[:n])
		}
	}
}
