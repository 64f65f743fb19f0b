// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"net/netip"
	"sync"
)

// arrivals bounds the handshakes that strangers can have going: from a QUIC
// Initial to the end of the HELLOs each costs about 3 ms of processor and
// 40 KiB, and nobody has proved anything yet.
type arrivals struct {
	mu    sync.Mutex // guards what follows
	total int
	by    map[netip.Prefix]int
}

const (
	// maxArrivals at one time are 10 MB.
	maxArrivals = 256
	// busyArrivals is when the node begins to be careful: newcomers have to
	// show that their address is theirs (Retry), and to be quick.
	busyArrivals = 32
	// maxFromPrefix may come from one household or one small provider. On the
	// LAN and on loopback, where a prefix says nothing, maxFromNear from one
	// address.
	maxFromPrefix = 16
	maxFromNear   = 64
)

// arrival is one handshake's place.
type arrival struct {
	a    *arrivals
	from netip.Prefix
	once sync.Once
}

// take returns a place for a handshake from addr, or nil when there is none.
func (a *arrivals) take(addr netip.Addr) *arrival {
	from, most := origin(addr), maxFromPrefix
	if from.IsSingleIP() {
		most = maxFromNear
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.total >= maxArrivals || a.by[from] >= most {
		return nil
	}
	if a.by == nil {
		a.by = make(map[netip.Prefix]int)
	}
	a.total++
	a.by[from]++
	return &arrival{a: a, from: from}
}

// done gives the place back. It may be called more than once.
func (p *arrival) done() {
	p.once.Do(func() {
		p.a.mu.Lock()
		defer p.a.mu.Unlock()
		p.a.total--
		if p.a.by[p.from]--; p.a.by[p.from] == 0 {
			delete(p.a.by, p.from)
		}
	})
}

func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total
}

// origin is what counts as one source: /24 or /48 (design §6), but the single
// address where neighbours share a prefix without being one.
func origin(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 24
	if a.Is6() {
		bits = 48
	}
	if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		bits = a.BitLen()
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
