// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/natlab"
)

// wallOff keeps two hosts apart: neither takes anything from the outside address of
// the other.
func wallOff(t *testing.T, a, b *natlab.Host) {
	t.Helper()
	for from, to := range map[*natlab.Host]*natlab.Host{a: b, b: a} {
		rules := fmt.Sprintf(`table inet wall {
			chain in { type filter hook input priority 0; ip saddr %v drop; }
		}`, to.Site().Addr())
		if out, err := from.Command(t.Context(), "nft", rules).CombinedOutput(); err != nil {
			t.Fatalf("nft: %v\n%s", err, out)
		}
	}
}

// kill ends a phone's process with SIGKILL: it says nothing to anybody.
func (p *softphone) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// Two softphones between which nothing passes talk over relays, all of them ordinary
// phones. The one that leads is killed, and the next one, and the next: each time the
// call goes on. That each side hears half of what was said meanwhile is asserted, for
// machines differ; more is told.
func TestKernelRelayKilled(t *testing.T) {
	natlab.Need(t)
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("builds a softphone and talks for half a minute; P2POS_LONG=1 runs it")
	}
	program := buildPhone(t)
	l := natlab.New(t)
	relays := make(map[string]*softphone)
	var join []string
	for i := range 6 {
		h := l.Public(fmt.Sprintf("r%d", i))
		at := h.Addr().String() + ":4000"
		p := startPhone(t, program, h, t.TempDir(), append([]string{"-portmap=false", "-listen", at}, join...)...)
		relays[p.node] = p
		join = append(join, "-join", at)
	}
	ha, hb := l.Site("a", natlab.APDM), l.Site("b", natlab.EIMAPDF)
	wallOff(t, ha, hb)
	flags := append([]string{"-portmap=false"}, join...)
	a, b := startPhone(t, program, ha, t.TempDir(), flags...), startPhone(t, program, hb, t.TempDir(), flags...)
	for _, p := range []*softphone{a, b} {
		p.wait("joined", time.Minute)
	}
	ticket := b.ask("ticket", "ticket").Ticket
	for until := time.Now().Add(patience); ; { // where b is may not be known yet
		fmt.Fprintln(a.in, "call "+ticket)
		e, ok := a.until(time.Minute, func(e phoneEvent) bool { return e.Ev == "media" || e.Ev == "ended" || e.Ev == "error" })
		if ok && e.Ev == "media" {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("nothing heard: %+v", e)
		}
		<-time.After(500 * time.Millisecond)
	}
	b.wait("media", time.Minute)
	for round := range 3 {
		<-time.After(7 * time.Second) // both relays stand, and the statistics speak of these alone
		via := relays[a.via()]
		if via == nil {
			t.Fatalf("not over a relay: %+v", a.path.Load())
		}
		before := [2]int{a.received(), b.received()}
		via.kill()
		delete(relays, via.node)
		<-time.After(3 * time.Second)
		for i, p := range []*softphone{a, b} {
			s := p.stats.Load()
			t.Logf("round %d, %s: %d packets in the 3 s since %s was killed", round, p.name, s.Received-before[i], via.name)
			if s.Received-before[i] < 75 { // half
				t.Errorf("%s hears nothing: %+v", p.name, s)
			}
		}
	}
	fmt.Fprintln(a.in, "hangup")
	for _, p := range []*softphone{a, b} {
		if _, ok := p.until(time.Minute, func(e phoneEvent) bool { return e.Ev == "ended" && e.Reason == "hangup" }); !ok {
			t.Errorf("%s: the call did not go on until the end", p.name)
		}
	}
}

// via is the node that relays a call to this phone now, "" for none.
func (p *softphone) via() string {
	if e := p.path.Load(); e != nil && e.Kind == "relay" {
		return e.Via
	}
	return ""
}

func (p *softphone) received() int {
	if s := p.stats.Load(); s != nil {
		return s.Received
	}
	return 0
}
