// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
	"github.com/p2pos/p2pos/session/ratchet"
)

// person is somebody who is talked with, or the node's own person, whose
// devices are the own other ones.
type person struct {
	id      identity.ID
	secret  identity.Secret
	name    string
	first   uint64 // entries [first, next) are kept
	next    uint64 // at least 1
	lastOwn uint64 // number of the latest entry that a device of ours has made here
	mine    uint64 // number of the latest entry of this device
	waiting uint64 // own entries that nobody of them has acknowledged
	readTo  uint64 // theirs up to here were read
	talked  int64  // Unix seconds of the latest entry
	heads   []head
	devices []*device
	held    []*held

	// In memory alone.
	fetchAt  time.Time // prekeys are not asked for before
	fetching bool
	seekAt   time.Time // nor links
	seekWait time.Duration
	dirty    bool
	heldToo  bool // held changed as well
}

// head is the latest entry of an author that was taken into a conversation.
type head struct {
	by   author
	last ID
}

// held is an entry that waits for the one before it.
type held struct {
	e     *entry
	since int64 // Unix seconds
}

// device is one of a person's.
type device struct {
	p       *person
	party   ratchet.Party
	since   uint64   // entries behind this number are its; what is older it never had from here
	acked   uint64   // own entries up to this number are there
	beyond  []uint64 // and these
	boxed   uint64   // own entries up to this number are in its mailbox
	boxedAt int64    // since, Unix seconds
	heard   int64    // latest message from it; 0 = it may not know of this device
	current [8]byte  // the session to send with
	session []*ratchet.Session

	links    []linked        // the latest is used
	bundle   *ratchet.Bundle // to start with
	handed   time.Time       // when it came over a link; zero = it was published
	flight   []flying
	last     uint64 // number of the latest entry that is, or was, in flight
	resend   resend
	asked    resend // for a bundle
	owed     []ID   // acknowledgements
	owedAt   time.Time
	have     bool     // it should hear which of its entries was the last
	digest   bool     // likewise, for an own device, of everybody's
	again    bool     // it should hear that it could not be read
	pushes   []push   // what an own device lacks
	pushing  []ID     // of that, what is under way
	lists    [][]byte // pages of HEADS for it
	theirs   []listed // its own, until the last page is here
	digestAt time.Time
	alone    time.Time // since when something waits and no link stands
	put      *putting
	refused  *putting // by the mailbox: the same blob is tried again
	putAt    resend
	rewound  time.Time
	restarts []time.Time
	queues   [2]*queue // from us to it, from it to us, once they were derived
	dirty    bool
}

type linked struct {
	node   identity.NodeID
	narrow bool
}

// flying is an own entry on its way over a link.
type flying struct {
	n     uint64
	id    ID
	sent  bool
	acked bool
}

// resend is a wait that doubles.
type resend struct {
	at   time.Time
	wait time.Duration
}

func (r *resend) later(now time.Time, first, most time.Duration) {
	r.wait = min(max(2*r.wait, first), most)
	r.at = now.Add(r.wait)
}

// putting is a blob on its way into a mailbox.
type putting struct {
	ref  uint32
	from uint64 // entries behind this one
	upTo uint64 // to this one; 0 = acknowledgements alone
	owed []ID
	// What else it says.
	have, again bool

	session [8]byte // it was sealed in
	secret  [32]byte
	blob    []byte
}

// push is a row of entries for an own device that lacks them.
type push struct {
	conversation identity.ID
	by           author
	next         uint64 // number to go on with
}

func (p *person) touch() { p.dirty = true }

func (p *person) device(id [16]byte) *device {
	for _, d := range p.devices {
		if d.party.Device == id {
			return d
		}
	}
	return nil
}

func (p *person) head(by author) *head {
	for i := range p.heads {
		if p.heads[i].by == by {
			return &p.heads[i]
		}
	}
	return nil
}

// setHead notes the latest entry of an author.
func (p *person) setHead(by author, id ID) {
	p.dirty = true
	if h := p.head(by); h != nil {
		h.last = id
		return
	}
	if len(p.heads) == maxAuthors {
		p.heads = p.heads[1:]
	}
	p.heads = append(p.heads, head{by, id})
}

// linked returns the link in use.
func (d *device) link() (l linked, ok bool) {
	if n := len(d.links); n > 0 {
		return d.links[n-1], true
	}
	return l, false
}

// with returns the session to send with, nil when there is none.
func (d *device) with() *ratchet.Session {
	for _, s := range d.session {
		if s.ID() == d.current && s.Ready() {
			return s
		}
	}
	return nil
}

func (d *device) find(id [8]byte) *ratchet.Session {
	for _, s := range d.session {
		if s.ID() == id {
			return s
		}
	}
	return nil
}

// Person:
//
//	version(1)=1 || fields
//	1 secret(16) name   2 first, next, mine, waiting, read to, talked (8 each)   3 heads: device(16) ours(1) id(16) each
//	4 devices, vec16 each: device(16) sealing(32) since, acked, boxed, boxed at, heard (8 each) current(8) n(1) n × session(8) m(1) m × beyond(8)
const personVersion = 1

func (p *person) append(b []byte) []byte {
	b = append(b, personVersion)
	v := append([]byte(nil), p.secret[:]...)
	b = wire.AppendField(b, 1, append(v, p.name...))
	v = nil
	for _, n := range []uint64{p.first, p.next, p.mine, p.waiting, p.readTo, uint64(p.talked)} {
		v = binary.BigEndian.AppendUint64(v, n)
	}
	b = wire.AppendField(b, 2, v)
	v = nil
	for _, h := range p.heads {
		v = append(append(append(v, h.by.device[:]...), boolean(h.by.ours)), h.last[:]...)
	}
	b = wire.AppendField(b, 3, v)
	v = nil
	for _, d := range p.devices {
		v = wire.AppendVec16(v, d.append(nil))
	}
	return wire.AppendField(b, 4, v)
}

func boolean(on bool) byte {
	if on {
		return 1
	}
	return 0
}

func (d *device) append(b []byte) []byte {
	b = append(append(b, d.party.Device[:]...), d.party.Sealing[:]...)
	for _, n := range []uint64{d.since, d.acked, d.boxed, uint64(d.boxedAt), uint64(d.heard)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = append(append(b, d.current[:]...), byte(len(d.session)))
	for _, s := range d.session {
		id := s.ID()
		b = append(b, id[:]...)
	}
	b = append(b, byte(len(d.beyond)))
	for _, n := range d.beyond {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// parsePerson reads a person; the sessions' names come back beside it.
func parsePerson(id identity.ID, b []byte) (p *person, sessions [][][8]byte, err error) {
	p = &person{id: id}
	if len(b) == 0 || b[0] != personVersion {
		return nil, nil, wire.ErrField
	}
	err = wire.Fields(b[1:], func(tag uint8, v []byte) error {
		r := wire.NewReader(v)
		switch tag {
		case 1:
			r.Fixed(p.secret[:])
			p.name = string(r.Rest())
		case 2:
			for _, n := range []*uint64{&p.first, &p.next, &p.mine, &p.waiting, &p.readTo} {
				*n = r.U64()
			}
			p.talked = int64(r.U64())
		case 3:
			for r.Len() > 0 && r.Err() == nil {
				var h head
				r.Fixed(h.by.device[:])
				h.by.ours = r.U8() != 0
				r.Fixed(h.last[:])
				p.heads = append(p.heads, h)
			}
		case 4:
			for r.Len() > 0 && r.Err() == nil {
				d, list, err := parseDevice(p, r.Vec16())
				if err != nil {
					return err
				}
				p.devices = append(p.devices, d)
				sessions = append(sessions, list)
			}
		default:
			return nil
		}
		return r.Done()
	})
	if err != nil || len(p.heads) > maxAuthors || len(p.devices) > maxDevices || p.next == 0 || p.first > p.next {
		return nil, nil, wire.ErrField
	}
	return p, sessions, nil
}

func parseDevice(p *person, b []byte) (d *device, sessions [][8]byte, err error) {
	r := wire.NewReader(b)
	d = &device{p: p, party: ratchet.Party{Identity: p.id}}
	r.Fixed(d.party.Device[:])
	r.Fixed(d.party.Sealing[:])
	d.since, d.acked, d.boxed = r.U64(), r.U64(), r.U64()
	d.boxedAt, d.heard = int64(r.U64()), int64(r.U64())
	r.Fixed(d.current[:])
	for n := r.U8(); n > 0; n-- {
		var id [8]byte
		r.Fixed(id[:])
		sessions = append(sessions, id)
	}
	for n := r.U8(); n > 0; n-- {
		d.beyond = append(d.beyond, r.U64())
	}
	if len(sessions) > maxSessions || len(d.beyond) > window {
		return nil, nil, wire.ErrField
	}
	return d, sessions, r.Done()
}

func (p *person) appendHeld(b []byte) []byte {
	for _, h := range p.held {
		v := binary.BigEndian.AppendUint64(nil, uint64(h.since))
		b = wire.AppendVec16(b, h.e.appendStored(v))
	}
	return b
}

func parseHeld(b []byte) (list []*held, err error) {
	r := wire.NewReader(b)
	for r.Len() > 0 {
		v := wire.NewReader(r.Vec16())
		h := &held{since: int64(v.U64())}
		if r.Err() != nil || v.Err() != nil || len(list) == maxHeld {
			return nil, wire.ErrField
		}
		if h.e, _, err = parseEntry(v.Rest()); err != nil {
			return nil, err
		}
		list = append(list, h)
	}
	return list, nil
}

// holds reports whether an entry waits already.
func (p *person) holds(id ID) bool {
	return slices.ContainsFunc(p.held, func(h *held) bool { return h.e.id == id })
}
