// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

func memoryPair(a, b string) (x, y Memory) {
	k := planKinds()
	x = Memory{Peer: [32]byte{2}, Key: [32]byte{7}, First: true, Mine: k[a], Theirs: k[b], Met: epoch, Addrs: []netip.AddrPort{punchPeer}}
	y = Memory{Peer: [32]byte{1}, Key: [32]byte{7}, Mine: k[b], Theirs: k[a], Met: epoch, Addrs: []netip.AddrPort{punchOwn}}
	return x, y
}

// meets collects the appointments of d, in the steps that the machine asks for.
func meets(a *Appointments, from time.Time, d time.Duration) (list []Meet, at []time.Time) {
	now := from
	for {
		for m, ok := a.NextMeet(); ok; m, ok = a.NextMeet() {
			list, at = append(list, m), append(at, now)
		}
		next := a.Deadline()
		if next.IsZero() || next.After(from.Add(d)) {
			return list, at
		}
		now = latest(now, next)
		a.Advance(now)
	}
}

// Two clocks a minute apart: for each slot both have the same ports and each
// other's keys, and the times of a slot overlap for a minute.
func TestAppointmentsAgree(t *testing.T) {
	x, y := memoryPair("sym-chosen", "eim-apdf")
	a, b := NewAppointments(), NewAppointments()
	a.Remember(epoch, x)
	b.Remember(epoch, y)
	start := epoch.Add(17 * time.Hour)
	a.Seek(start)
	b.Seek(start.Add(-time.Minute))
	la, ta := meets(a, start, 5*time.Minute)
	lb, tb := meets(b, start.Add(-time.Minute), 5*time.Minute)
	if len(la) < 6 || len(la) > 9 {
		t.Errorf("%d appointments in 5 min", len(la))
	}
	both := 0
	for i, m := range la {
		for j, n := range lb {
			if m.Slot != n.Slot {
				continue
			}
			both++
			p, q := m.Config, n.Config
			if p.Mine != q.Theirs || p.Theirs != q.Mine || p.Plan.Chosen != q.Plan.TheirChosen || p.Trust != Remembered {
				t.Errorf("slot %d: no agreement", m.Slot)
			}
			from := latest(ta[i], tb[j].Add(time.Minute))
			until := m.Until
			if u := n.Until.Add(time.Minute); u.Before(until) {
				until = u
			}
			if i > 2 && j > 2 && until.Sub(from) < time.Minute {
				t.Errorf("slot %d: %v in common", m.Slot, until.Sub(from))
			}
		}
	}
	if both < 4 {
		t.Errorf("%d slots in common", both)
	}
	if la[0].Config.Mine == la[1].Config.Mine || la[0].Config.Mine.Tag == la[1].Config.Mine.Tag {
		t.Error("two slots with one tag")
	}
}

// At first every slot, after ten minutes one in ten: the same ones on both
// sides, whoever started when. A node that starts later meets the patient one.
func TestAppointmentsGetSparse(t *testing.T) {
	x, y := memoryPair("eim-kept", "eim-kept")
	a, b := NewAppointments(), NewAppointments()
	a.Remember(epoch, x)
	b.Remember(epoch, y)
	a.Seek(epoch)
	b.Seek(epoch.Add(3*time.Hour + 3*time.Minute))
	la, _ := meets(a, epoch, 4*time.Hour)
	if n := len(la); n < 10+22 || n > 14+25 {
		t.Errorf("%d appointments in 4 h", n)
	}
	lb, _ := meets(b, epoch.Add(3*time.Hour+3*time.Minute), 12*time.Minute)
	slots := map[int64]bool{}
	for _, m := range la {
		if slots[m.Slot] {
			t.Errorf("slot %d twice", m.Slot)
		}
		slots[m.Slot] = true
	}
	common := 0
	for _, m := range lb {
		if slots[m.Slot] {
			common++
		}
	}
	if common == 0 {
		t.Error("no slot in common within 12 min")
	}
	start := epoch.Add(3*time.Hour + 3*time.Minute)
	b = NewAppointments()
	b.Remember(epoch, y)
	b.Seek(start)
	lb, at := meets(b, start, 50*time.Minute)
	late := 0
	for i, m := range lb {
		if at[i].Sub(start) > keenFor+2*time.Minute {
			late++
			if !slots[m.Slot] {
				t.Errorf("slot %d is kept by one side alone", m.Slot)
			}
		}
	}
	if late < 2 || late > 5 {
		t.Errorf("%d appointments in the last 38 of 50 min", late)
	}
	// Found ends it; Lost begins anew.
	now := epoch.Add(5 * time.Hour)
	a.Found(now, x.Peer)
	if l, _ := meets(a, now, time.Hour); len(l) != 0 || !a.Deadline().IsZero() {
		t.Errorf("%d appointments with a node that was found", len(l))
	}
	a.Lost(now.Add(time.Hour), x.Peer)
	if l, _ := meets(a, now.Add(time.Hour), 5*time.Minute); len(l) < 5 {
		t.Errorf("%d appointments with a node that was lost", len(l))
	}
}

func TestAppointmentsBounds(t *testing.T) {
	a := NewAppointments()
	x, _ := memoryPair("eim-kept", "eim-kept")
	for i := range 200 {
		x.Peer, x.Met = [32]byte{byte(i), 1}, epoch.Add(time.Duration(i*7919%200)*time.Second)
		x.Addrs = make([]netip.AddrPort, 9)
		x.Addrs[0] = punchPeer
		a.Remember(epoch, x)
	}
	list := a.Memories()
	if len(list) != MaxMemories || len(list[0].Addrs) != maxMemoryAddrs {
		t.Fatalf("%d memories", len(list))
	}
	for _, m := range list[:MaxMemories-1] { // the last came last, whatever its age
		if m.Met.Sub(epoch) < 136*time.Second {
			t.Errorf("one met %v is kept", m.Met.Sub(epoch))
		}
	}
	a.Seek(epoch.Add(time.Hour))
	if n := len(a.meets); n > lateSlots*MaxMemories {
		t.Errorf("%d appointments at once", n)
	}
	a.Advance(epoch.Add(48 * time.Hour)) // asleep
	if n := len(a.meets); n > lateSlots*MaxMemories {
		t.Errorf("%d appointments after a sleep", n)
	}
	a.Advance(epoch.Add(memoryLife + 48*time.Hour))
	if !a.Deadline().IsZero() {
		t.Error("old memories are used")
	}
	a.Forget(list[0].Peer)
	if len(a.Memories()) != MaxMemories-1 {
		t.Error("not forgotten")
	}
	// No way, no appointment.
	for _, c := range [][2]string{{"sym-full", "sym-full"}, {"sym-block", "sym-block"}, {"sym-counter", "sym-counter"}, {"blocked", "public"}} {
		a := NewAppointments()
		x, _ := memoryPair(c[0], c[1])
		a.Remember(epoch, x)
		a.Seek(epoch)
		if l, _ := meets(a, epoch, time.Hour); len(l) != 0 {
			t.Errorf("%v: %d appointments", c, len(l))
		}
	}
}

// No appointment sends more than a remembered address may get, and never
// elsewhere, with all three slots of a pair kept at a time.
func TestAppointmentsStayInBudget(t *testing.T) {
	for n, mine := range planKinds() {
		for m := range planKinds() {
			x, _ := memoryPair(n, m)
			x.Mine = mine
			a := NewAppointments()
			a.Remember(epoch, x)
			a.Seek(epoch)
			budget, sent := NewBudget(epoch), 0
			list, _ := meets(a, epoch, 9*time.Minute)
			for _, meet := range list[:min(len(list), 4)] {
				c := meet.Config
				r := &punchRig{t: t, now: epoch, budget: budget, local: 100, mine: c.Mine, theirs: c.Theirs, keep: true}
				r.p = NewPuncher(epoch, c, budget, rand.New(rand.NewPCG(1, 1)))
				r.run(4 * time.Minute)
				for _, s := range r.sent {
					if s.s.Path.Remote.Addr() != punchPeer.Addr() {
						t.Fatalf("%s × %s: shot at %v", n, m, s.s.Path)
					}
				}
				if len(r.sent) > packetsRemembered/3 {
					t.Errorf("%s × %s: %d packets in one slot", n, m, len(r.sent))
				}
				sent += len(r.sent)
			}
			if sent > packetsRemembered {
				t.Errorf("%s × %s: %d packets", n, m, sent)
			}
		}
	}
}

// reunion is a node that has nothing but its memories: a driver of
// Appointments on a simulated host whose clock is wrong.
type reunion struct {
	skew  time.Duration
	a     *Appointments
	pairs []*puncherNode
	host  *simnet.Host
	w     *simnet.World
	main  uint16
	kept  int
	sink  *Budget
}

func (r *reunion) Receive(now time.Time, _ int, from netip.AddrPort, b []byte) {
	for _, n := range r.pairs {
		n.Receive(now.Add(r.skew), 0, from, b)
		r.w.Wake(n)
	}
}

func (r *reunion) Advance(now time.Time) {
	now = now.Add(r.skew)
	r.a.Advance(now)
	for m, ok := r.a.NextMeet(); ok; m, ok = r.a.NextMeet() {
		r.kept++
		n := &puncherNode{w: r.w, host: r.host, now: now, used: map[uint16]bool{r.main: true}, shots: map[netip.AddrPort]int{}, budget: r.sink}
		n.paths = NewPaths(m.Config.Mine, m.Config.Theirs, r.w.Rand(), Options{})
		n.punch = NewPuncher(now, m.Config, r.sink, r.w.Rand())
		r.pairs = append(r.pairs, n)
	}
	for _, n := range r.pairs {
		n.Advance(now)
	}
}

func (r *reunion) Deadline() time.Time {
	at := r.a.Deadline()
	for _, n := range r.pairs {
		at = sooner(at, n.Deadline())
	}
	if at.IsZero() {
		return at
	}
	return at.Add(-r.skew)
}

func (r *reunion) Poll() (int, netip.AddrPort, []byte, bool) {
	for _, n := range r.pairs {
		if local, to, b, ok := n.Poll(); ok {
			return local, to, b, true
		}
	}
	return 0, netip.AddrPort{}, nil, false
}

func (r *reunion) up() bool {
	for _, n := range r.pairs {
		if n.up() {
			return true
		}
	}
	return false
}

// After a complete shutdown two nodes behind NATs that keep ports meet again
// with nobody else alive, though they start minutes apart and their clocks are
// wrong by up to a minute.
func TestReunion(t *testing.T) {
	for seed := range uint64(24) {
		rng := rand.New(rand.NewPCG(seed, 5))
		w := simnet.NewWorld(seed, punchEpoch)
		var nodes [2]*reunion
		addrs := [2]netip.AddrPort{netip.MustParseAddrPort("45.0.1.1:4000"), netip.MustParseAddrPort("45.0.2.1:4000")}
		s := site(simEIM, simAPDM, simnet.Preserve)
		for i := range nodes {
			c := s.nat
			c.Pool = []netip.Addr{addrs[i].Addr()}
			h := w.NAT("box", simnet.Profile{Delay: 20 * time.Millisecond, Loss: 0.05}, c).
				Host("host", simnet.Profile{}, octets(192, 168, byte(i), 2))
			r := &reunion{a: NewAppointments(), host: h, w: w, main: 4000, sink: NewBudget(punchEpoch.Add(-time.Hour))}
			r.skew = time.Duration(rng.Int64N(int64(time.Minute))) - 30*time.Second
			r.a.Remember(punchEpoch, Memory{
				Peer: [32]byte{byte(i)}, Key: [32]byte{9}, First: i == 0, Mine: s.b, Theirs: s.b,
				Met: punchEpoch, Addrs: []netip.AddrPort{addrs[1-i]},
			})
			nodes[i] = r
			w.At(punchEpoch.Add(time.Duration(i)*time.Duration(rng.Int64N(int64(4*time.Minute)))), func() {
				r.a.Seek(w.Now().Add(r.skew))
				h.Attach(4000, r)
			})
		}
		w.Run(punchEpoch.Add(4 * time.Minute))
		ok := w.Until(2*time.Minute, func() bool { return nodes[0].up() && nodes[1].up() })
		if !ok {
			t.Errorf("seed %d: not met 2 min after the second started; clocks %v and %v", seed, nodes[0].skew, nodes[1].skew)
		}
	}
}
