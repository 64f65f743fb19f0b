// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func TestCollector(t *testing.T) {
	d := newDevice(t)
	s := NewStore(node(1), newRand(1))
	inbox := makeInbox(t, d)
	s.Put(now, inbox, netip.Prefix{})
	list := knocks(t, d, inbox, identity.KnockWork, identity.KnockWork)
	for _, k := range list {
		if o := s.Knock(now, k, netip.Prefix{}); o != Stored {
			t.Fatal(o)
		}
	}
	c := NewCollector(now, d, 0, newRand(1))
	round := func(at time.Time, bad [][]byte) (told []identity.Knock) {
		t.Helper()
		c.Advance(at)
		asks := drain(c.NextEvent)
		if len(asks) != 3 {
			t.Fatalf("%d questions", len(asks))
		}
		for _, ev := range asks {
			a := ev.(Ask)
			for _, p := range split(bad, knocksPerMessage) {
				c.Answer(at, a.Ref, node(9), KnocksMessage{0, 1, p}.Append(nil))
			}
			answers, err := s.Receive(at, a.Body, netip.Prefix{})
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range answers {
				c.Answer(at, a.Ref, node(1), b)
				c.Answer(at, a.Ref+100, node(1), b) // not asked for
				c.Answer(at, a.Ref, node(1), b[:len(b)-1])
			}
		}
		for _, ev := range drain(c.NextEvent) {
			told = append(told, ev.(Knocked).Knock)
		}
		return told
	}
	// A holder that lies: 600 times nonsense does not hide the two.
	var bad [][]byte
	for i := range 600 {
		b := bytes.Clone(list[0])
		b[100], b[101] = byte(i), byte(i>>8)
		bad = append(bad, b)
	}
	told := round(c.Deadline(), bad)
	if len(told) != 2 || told[0].Name != "Ann" {
		t.Fatalf("%+v", told)
	}
	if n := c.vias[0].answers; n != maxOpens {
		t.Errorf("%d knocks of the liar opened", n)
	}
	first := c.Deadline()
	if wait := first.Sub(now); wait < collectEvery*3/4 || wait > 2*collectEvery {
		t.Errorf("next in %v", wait)
	}
	if told := round(first, nil); len(told) != 0 {
		t.Errorf("told again: %+v", told)
	}
	c.Advance(first) // early: nothing happens
	if ev := drain(c.NextEvent); len(ev) != 0 {
		t.Errorf("%v", ev)
	}
	// What is over is forgotten.
	c.forget(now.Add(5 * 24 * time.Hour))
	if len(c.seen) != 0 || len(c.callers) != 0 {
		t.Errorf("%d knocks, %d callers remembered", len(c.seen), len(c.callers))
	}
}

// One knock of a caller is told in a day, whatever tokens it makes.
func TestCollectorOnceADay(t *testing.T) {
	d, caller := newDevice(t), newDevice(t)
	in, err := identity.OpenInbox(makeInbox(t, d), d.ID(), now)
	if err != nil {
		t.Fatal(err)
	}
	job, err := identity.MakeKnock(caller, in, identity.Greeting{Text: "again"})
	if err != nil {
		t.Fatal(err)
	}
	var k []byte
	for k == nil {
		k = job.Try(10_000, identity.KnockWork)
	}
	day := identity.Hour(now) / 24
	for known, want := range map[uint64]int{day: 0, day - 1: 1} {
		c := NewCollector(now, d, 0, newRand(1))
		c.Advance(c.Deadline())
		ref := drain(c.NextEvent)[0].(Ask).Ref
		c.callers[caller.ID()] = known
		c.Answer(now, ref+100, node(1), KnocksMessage{0, 1, [][]byte{k}}.Append(nil)) // not asked for
		if told := len(drain(c.NextEvent)); told != 0 {
			t.Errorf("told %d times unasked", told)
		}
		c.Answer(now, ref, node(1), KnocksMessage{0, 1, [][]byte{k}}.Append(nil))
		if told := len(drain(c.NextEvent)); told != want {
			t.Errorf("told %d times, want %d", told, want)
		}
	}
}
