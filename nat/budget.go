// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math"
	"net/netip"
	"time"
)

// Trust says why packets may go to an address.
type Trust uint8

// The degrees of trust.
const (
	Stranger   Trust = iota // a peer named it: 3 packets
	Remembered              // we had a link there: 240 packets in ten minutes
	Attested                // introducers see the peer there now: 3,000
)

// String returns the word.
func (t Trust) String() string {
	switch t {
	case Remembered:
		return "remembered"
	case Attested:
		return "attested"
	}
	return "stranger"
}

const (
	// flowsPerSecond and flowBurst allow 500 new flows a second for three
	// seconds, flowRefill then 30 a second: a household's router tracks each,
	// and cheap ones have been seen to crash.
	flowsPerSecond = 500
	flowBurst      = 3 * flowsPerSecond
	flowRefill     = time.Second / 30
	// rollsPerSecond bounds a rolling search, which may go on for long.
	rollsPerSecond = 30

	// packetsWindow and the numbers of packets to one address in it.
	packetsWindow     = 10 * time.Minute
	packetsAttested   = 3000           // two full searches: one in 250 misses, and the next would find the budget spent
	packetsReplies    = 2 * maxReplies // beyond those, to genuine requests from there and in return
	packetsRemembered = 240            // finds one of 8 ports of 512 97 times in 100, and hurts nobody who lives there now
	packetsStranger   = 3
	// packetsHost is what all ports of one address may get that peers have
	// merely named as theirs: several may sit behind one carrier's NAT.
	packetsHost = 24

	// maxAddresses bounds the addresses counted, and as many with their ports;
	// more are refused. A node of the largest networks tries some 200 peers in
	// ten minutes. Strangers leave a quarter of the places to those that a
	// third side vouches for.
	maxAddresses = 1024
	maxStrangers = maxAddresses * 3 / 4
	// windowParts cut the window: an old part is forgotten as a whole, so that
	// the count is never too low.
	windowParts = 10
)

// Budget is what all punches of a node together may cost the household's NAT
// and the addresses written to. Every packet of every Puncher is taken from it
// first, and every probe of a Paths to an address that hasn't answered. It is a
// pure rule: no clock, and one goroutine at a time.
type Budget struct {
	base    time.Time // durations below are since then
	flows   spread    // new flows, in any second
	rolls   spread    // a rolling search's
	burst   bucket
	addrs   []spent // by IP address, at most maxAddresses
	ends    []spent // what strangers got, by port and in all; at most maxAddresses
	live    []time.Duration
	refused [numRefusals]uint64
	sent    uint64
	opened  uint64
	most    int
}

// Refusal says why a packet was not sent.
type Refusal uint8

// The refusals.
const (
	NotRefused   Refusal = iota
	TooManyFlows         // new flows in a second, or in the burst
	AddressSpent         // the address has had all that it may get
	TooManyAddrs         // more addresses at a time than are counted
	ShareSpent           // mappings held reach our share of the block
	TooManyRolls         // a rolling search is at its pace
	numRefusals  = iota
)

// String returns the reason in a few words.
func (r Refusal) String() string {
	names := [...]string{"", "new flows", "address spent", "addresses", "share of block", "rolling pace"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

// NewBudget returns a budget nothing is taken from yet.
func NewBudget(now time.Time) *Budget {
	return &Budget{
		base:  now,
		flows: spread{ring: make([]time.Duration, flowsPerSecond)},
		rolls: spread{ring: make([]time.Duration, rollsPerSecond)},
		burst: bucket{burst: flowBurst, refill: flowRefill},
		live:  make([]time.Duration, 0, maxLive),
	}
}

// ask is what one packet takes.
type ask struct {
	to      netip.AddrPort
	paths   bool // by a Paths, which probes what peers name
	trust   Trust
	flow    bool          // the first packet from its socket to its destination
	short   bool          // with a TTL so low that it doesn't get there: charged to strangers by itself
	reply   bool          // to a genuine request, or in return for one: the punch bounds those
	rolling bool          // beside a relayed call: paced, and not counted for the address
	mapping time.Duration // > 0: a new mapping of ours that lasts so long
	live    int           // at most so many mappings, standing ones included
	stand   int           // standing ones
}

// take takes a packet from the budget, or says why not and when to ask again;
// zero is not in the foreseeable future.
func (b *Budget) take(now time.Time, a ask) (Refusal, time.Time) {
	t := now.Sub(b.base)
	r, at := b.check(now, t, a)
	if r != NotRefused {
		b.refused[r]++
		if at == 0 {
			return r, time.Time{}
		}
		return r, b.base.Add(at)
	}
	b.sent++
	if a.flow {
		b.flows.add(t)
		b.burst.take(now)
	}
	switch {
	case a.rolling:
		b.rolls.add(t)
	case a.short && a.trust == Stranger:
		b.end(t, a, partWay).add()
	default:
		b.host(t, a).add()
		if a.trust == Stranger {
			for _, of := range [...]account{onePort, allPorts} {
				if e := b.end(t, a, of); e != nil {
					e.add()
				}
			}
		}
	}
	if a.mapping > 0 {
		b.opened++
		b.push(t + a.mapping)
		b.most = max(b.most, len(b.live))
	}
	return NotRefused, time.Time{}
}

// answered gives back what strangers took for an address and port that has
// answered with a key: whoever lives there wants it.
func (b *Budget) answered(now time.Time, to netip.AddrPort) {
	t := now.Sub(b.base)
	a := ask{to: to}
	b.end(t, a, onePort) // the list may move when one is added
	all, h := b.end(t, a, allPorts), b.host(t, a)
	e := b.end(t, a, onePort)
	if e == nil || all == nil || h == nil {
		return
	}
	for i := range e.parts {
		h.parts[i] -= min(e.parts[i], h.parts[i])
		all.parts[i] -= min(e.parts[i], all.parts[i])
		e.parts[i] = 0
	}
}

// check decides; it changes nothing but what time has made void.
func (b *Budget) check(now time.Time, t time.Duration, a ask) (Refusal, time.Duration) {
	if a.flow {
		if at := b.flows.free(t); at > t {
			return TooManyFlows, at
		}
		if at, ok := b.burst.left(now); !ok {
			return TooManyFlows, at.Sub(b.base)
		}
	}
	if a.rolling {
		if at := b.rolls.free(t); at > t {
			return TooManyRolls, at
		}
	} else if a.short && a.trust == Stranger {
		switch s := b.end(t, a, partWay); {
		case s == nil:
			return TooManyAddrs, 0
		case s.count() >= packetsStranger:
			return AddressSpent, 0
		}
	} else {
		s := b.host(t, a)
		most := a.trust.packets()
		if a.trust == Stranger && a.paths {
			e := b.end(t, a, onePort)
			if e != nil && e.count() >= packetsStranger {
				return AddressSpent, 0
			}
			if all := b.end(t, a, allPorts); e == nil || all == nil {
				s = nil
			} else if all.count() >= packetsHost {
				return AddressSpent, 0
			}
			most = math.MaxInt
		}
		if s == nil {
			return TooManyAddrs, 0
		}
		if a.reply && a.trust == Attested {
			most += packetsReplies
		}
		if s.count() >= most {
			return AddressSpent, 0
		}
	}
	if a.mapping > 0 {
		b.expire(t)
		if len(b.live)+a.stand >= min(a.live, maxLive) {
			if len(b.live) == 0 {
				return ShareSpent, 0
			}
			return ShareSpent, b.live[0]
		}
	}
	return NotRefused, 0
}

func (t Trust) packets() int {
	switch t {
	case Attested:
		return packetsAttested
	case Remembered:
		return packetsRemembered
	}
	return packetsStranger
}

// BudgetUse is what a Budget shows: all of it since the start, but Live.
type BudgetUse struct {
	Packets  uint64 // sent by punches
	Mappings uint64 // opened on our NAT
	Live     int    // of them, as of the last packet
	MostLive int
	Refused  [numRefusals]uint64 // by Refusal
}

// Use returns what was used so far.
func (b *Budget) Use() BudgetUse {
	return BudgetUse{Packets: b.sent, Mappings: b.opened, Live: len(b.live), MostLive: b.most, Refused: b.refused}
}

// spread allows as many events in any second as its ring has places.
type spread struct {
	ring []time.Duration // the last events, oldest at next
	next int
	full bool
}

// free returns when the next event may be.
func (s *spread) free(now time.Duration) time.Duration {
	if !s.full {
		return now
	}
	return max(now, s.ring[s.next]+time.Second)
}

func (s *spread) add(now time.Duration) {
	s.ring[s.next] = now
	if s.next++; s.next == len(s.ring) {
		s.next, s.full = 0, true
	}
}

// left reports whether take would take a token now, and else when.
func (b *bucket) left(now time.Time) (time.Time, bool) {
	c := *b
	if c.take(now) {
		return now, true
	}
	return c.at.Add(c.refill), false
}

// account says which packets are counted together.
type account uint8

const (
	everything account = iota
	onePort            // to one port
	allPorts           // to all ports of an address, by strangers
	partWay            // that don't get there
)

// spent counts the packets of one account.
type spent struct {
	addr  netip.AddrPort // of onePort; else the port is 0
	of    account
	part  int64 // number of the newest part
	parts [windowParts + 1]uint16
}

const partLen = packetsWindow / windowParts

// host returns the count of all that went to a's address, nil where there is no
// room for it.
func (b *Budget) host(t time.Duration, a ask) *spent {
	return find(&b.addrs, t, netip.AddrPortFrom(a.to.Addr(), 0), everything, a.trust)
}

// end returns the count of what strangers had sent there.
func (b *Budget) end(t time.Duration, a ask, of account) *spent {
	to := a.to
	if of != onePort {
		to = netip.AddrPortFrom(to.Addr(), 0)
	}
	return find(&b.ends, t, to, of, a.trust)
}

// find returns a count in a list, a new one if there is room.
func find(list *[]spent, t time.Duration, addr netip.AddrPort, of account, trust Trust) *spent {
	part := int64(t / partLen)
	free, old := -1, 0
	for i := range *list {
		s := &(*list)[i]
		if s.addr == addr && s.of == of {
			s.turn(part)
			return s
		}
		if s.part+windowParts < part {
			free = i
			old++
		}
	}
	most := maxAddresses
	if trust == Stranger {
		most = maxStrangers
	}
	switch {
	case len(*list)-old >= most:
		return nil
	case free < 0:
		*list = append(*list, spent{})
		free = len(*list) - 1
	}
	(*list)[free] = spent{addr: addr, of: of, part: part}
	return &(*list)[free]
}

// turn forgets parts that are out of the window.
func (s *spent) turn(part int64) {
	for n := min(part-s.part, windowParts+1); n > 0; n-- {
		copy(s.parts[1:], s.parts[:windowParts])
		s.parts[0] = 0
	}
	s.part = max(s.part, part)
}

func (s *spent) add() { s.parts[0]++ }

func (s *spent) count() (n int) {
	for _, p := range s.parts {
		n += int(p)
	}
	return n
}
