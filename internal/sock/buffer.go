// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import "sync"

// MaxDatagram bounds what is read from the network and kept for a replay: an
// Ethernet frame. No node sends more than 1,252 bytes, a relayed packet of
// 1,200 included; whatever is longer was not meant for us.
const MaxDatagram = 1500

// buffer holds one datagram. The spare byte shows that a datagram was longer.
type buffer struct {
	n int
	b [MaxDatagram + 1]byte
}

func (b *buffer) data() []byte { return b.b[:b.n:b.n] }

// buffers is the socket's pool, shared by readers, QUIC's queue and replays.
type buffers struct{ pool sync.Pool }

func (p *buffers) get() *buffer {
	if b, ok := p.pool.Get().(*buffer); ok {
		return b
	}
	return new(buffer)
}

func (p *buffers) put(b *buffer) {
	if b != nil {
		p.pool.Put(b)
	}
}
