// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

func TestKeepaliveOf(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		b    Behaviour
		want time.Duration
	}{
		"nothing known":         {Behaviour{}, 15 * s},
		"a NAT's not known":     {Behaviour{Mapping: EndpointIndependent}, 15 * s},
		"replied":               {Behaviour{Replied: 45 * s, Unreplied: 29 * s}, 36 * s},
		"unreplied alone":       {Behaviour{Unreplied: 29 * s}, 29 * s / 5 * 4},
		"short":                 {Behaviour{Replied: 5 * s}, 5 * s},
		"long":                  {Behaviour{Replied: 290 * s}, 60 * s},
		"ends whatever happens": {Behaviour{Replied: 118 * s, Absolute: 50 * s}, 5 * s},
		"open":                  {Behaviour{Mapping: NoNAT, Filtering: NoNAT}, 30 * s},
		"firewall":              {Behaviour{Mapping: NoNAT, Filtering: AddressDependent}, 15 * s},
		"nonsense":              {Behaviour{Replied: -s}, 15 * s},
	} {
		if got := KeepaliveOf(c.b); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// An idle path is probed at the learned pace, a shorter one from now on.
func TestSetKeepalive(t *testing.T) {
	r := newRig(t, true, Options{Keepalive: 60 * time.Second})
	r.up(map[sock.Path]time.Duration{pathA: 20 * ms}, pathA)
	count := func(d time.Duration) int {
		before := len(r.sent)
		r.run(d)
		return len(r.sent) - before
	}
	if n := count(10 * time.Minute); n < 9 || n > 12 {
		t.Errorf("%d probes in 10 min at 60 s", n)
	}
	r.p.SetKeepalive(r.now, 10*time.Second)
	if n := count(10 * time.Minute); n < 54 || n > 68 {
		t.Errorf("%d probes in 10 min at 10 s", n)
	}
	r.p.SetKeepalive(r.now, 0)
	if n := count(10 * time.Minute); n < 36 || n > 46 {
		t.Errorf("%d probes in 10 min by default", n)
	}
}

// Two nodes' worth of claims: however many peers name an address that never
// answers, through path sets and punches, it gets three packets.
func TestPathsShareTheBudget(t *testing.T) {
	budget := NewBudget(epoch)
	sent := 0
	for i := range 40 {
		mine, theirs := creds()
		mine.Tag[7] = byte(i)
		r := newRig(t, true, Options{})
		r.mine = mine
		r.p = NewPaths(mine, theirs, rand.New(rand.NewPCG(1, uint64(i))), Options{Budget: budget})
		r.p.Add(r.now, sock.Path{Remote: bystander})
		r.run(5 * time.Second)
		sent += len(r.sent)
	}
	if sent != packetsStranger {
		t.Errorf("%d packets to the address", sent)
	}
	if u := budget.Use(); u.Refused[AddressSpent] == 0 {
		t.Errorf("use %+v", u)
	}
	// A neighbour's address inside is looked for by everybody.
	inside := newRig(t, true, Options{Budget: budget})
	inside.p.Add(inside.now, pathL)
	inside.run(5 * time.Second)
	if len(inside.sent) != triesCold {
		t.Errorf("%d probes to an address inside", len(inside.sent))
	}
}

// A hole that a search has spent the budget on is proved all the same, by what the
// peer's own requests and answers are worth: a search that ended well would else
// leave the call relayed for ten minutes.
func TestPathsProveWithBudgetSpent(t *testing.T) {
	spent := func() *Budget {
		b := NewBudget(epoch)
		for range packetsAttested {
			if why, _ := b.take(epoch, ask{to: pathA.Remote, trust: Attested}); why != NotRefused {
				t.Fatal(why)
			}
		}
		return b
	}
	for name, c := range map[string]struct {
		do   func(*rig)
		most int
	}{
		"attested": {func(r *rig) { r.p.AddAttested(r.now, pathA) }, 0},
		"proved":   {func(r *rig) { r.p.AddProved(r.now, pathA) }, triesProvoked},
		"asked": {func(r *rig) {
			r.p.AddAttested(r.now, pathA)
			r.receive(pathA, r.request(false))
		}, triesProvoked},
	} {
		r := newRig(t, true, Options{Budget: spent()})
		c.do(r)
		r.run(time.Hour)
		n := 0
		for _, x := range r.sent {
			if x.m.request {
				n++
			}
		}
		if c.most == 0 && n > 0 || n > c.most || c.most > 0 && n == 0 {
			t.Errorf("%s: %d probes", name, n)
		}
	}
	// The puncher answers, and asks in return.
	r := newPunchRig(t, "sym-block", "eim-apdf", PlanOptions{}, Attested)
	r.run(100 * ms)
	for range packetsAttested {
		r.budget.take(r.now, ask{to: punchPeer, trust: Attested})
	}
	before := len(r.sent)
	if !r.ask(sock.Path{Local: 100, Remote: punchPeer}) || len(r.sent) != before+2 {
		t.Errorf("%d packets for a genuine request", len(r.sent)-before)
	}
	// Nobody pays for a stranger.
	r = newPunchRig(t, "sym-block", "eim-apdf", PlanOptions{}, Stranger)
	r.run(100 * ms)
	for range packetsStranger {
		r.budget.take(r.now, ask{to: punchPeer, trust: Stranger})
	}
	before = len(r.sent)
	if r.ask(sock.Path{Local: 100, Remote: punchPeer}); len(r.sent) != before {
		t.Errorf("%d packets to a stranger", len(r.sent)-before)
	}
}
