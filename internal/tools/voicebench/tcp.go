// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

const (
	// segment is what TCP sends at once, with 28 bytes of headers a full packet.
	segment = 1472
	// patience is after how long without an acknowledgement it begins anew.
	patience = time.Second
	// reordered is how many later packets must have come for one to be lost
	// (RFC 5681 §3.2).
	reordered = 3
)

// upload sends as much as TCP's congestion control lets it (RFC 5681: slow
// start, congestion avoidance, a window that halves with each loss), for ever.
// It is a simnet.Node.
type upload struct {
	peer      netip.AddrPort
	window    float64 // packets
	threshold float64
	next      uint32 // to send
	flying    []uint32
	recover   uint32 // losses of packets before it are of the last halving
	heard     time.Time
	delivered int // packets that were acknowledged
}

func newUpload(now time.Time) *upload { return &upload{window: 2, threshold: 1e9, heard: now} }

func (u *upload) Receive(now time.Time, _ int, _ netip.AddrPort, b []byte) {
	seq := binary.BigEndian.Uint32(b)
	for i, f := range u.flying {
		if f != seq {
			continue
		}
		u.flying = append(u.flying[:i], u.flying[i+1:]...)
		u.delivered++
		u.heard = now
		if u.window < u.threshold {
			u.window++
		} else {
			u.window += 1 / u.window
		}
		break
	}
	for len(u.flying) > 0 && seq >= u.flying[0]+reordered {
		lost := u.flying[0]
		u.flying = u.flying[1:]
		if lost >= u.recover {
			u.window = max(u.window/2, 2)
			u.threshold, u.recover = u.window, u.next
		}
	}
}

func (u *upload) Advance(now time.Time) {
	if now.Sub(u.heard) >= patience {
		u.flying = u.flying[:0]
		u.threshold, u.window, u.recover, u.heard = max(u.window/2, 2), 1, u.next, now
	}
}

func (u *upload) Deadline() time.Time { return u.heard.Add(patience) }

func (u *upload) Poll() (int, netip.AddrPort, []byte, bool) {
	if float64(len(u.flying)) >= u.window {
		return 0, netip.AddrPort{}, nil, false
	}
	b := make([]byte, segment)
	binary.BigEndian.PutUint32(b, u.next)
	u.flying = append(u.flying, u.next)
	u.next++
	return 0, u.peer, b, true
}

// sink acknowledges what an upload sends.
type sink struct {
	peer netip.AddrPort
	acks [][]byte
}

func (s *sink) Receive(_ time.Time, _ int, _ netip.AddrPort, b []byte) {
	s.acks = append(s.acks, append([]byte(nil), b[:12]...))
}
func (s *sink) Advance(time.Time)   {}
func (s *sink) Deadline() time.Time { return time.Time{} }

func (s *sink) Poll() (int, netip.AddrPort, []byte, bool) {
	if len(s.acks) == 0 {
		return 0, netip.AddrPort{}, nil, false
	}
	b := s.acks[0]
	s.acks = s.acks[1:]
	return 0, s.peer, b, true
}

// flood puts an upload beside a call: from the first person's host to the
// second's.
func (u *upload) flood(near, far *simnet.Host) {
	s := &sink{}
	s.peer = near.Attach(5000, u)
	u.peer = far.Attach(5000, s)
}

// alone lets an upload run over a link of its own and returns its bit/s.
func alone(rate int, length time.Duration) (*upload, float64) {
	n := network{oneWay: 25 * ms, rate: rate, queue: 200 * ms}
	w := simnet.NewWorld(1, start)
	near := w.Host("a", n.profile(), netip.MustParseAddr("45.0.0.1"))
	far := w.Host("b", simnet.Profile{}, netip.MustParseAddr("45.0.0.2"))
	u := newUpload(start)
	u.flood(near, far)
	w.Run(start.Add(length))
	return u, float64(u.delivered) * (segment + header) * 8 / length.Seconds()
}
