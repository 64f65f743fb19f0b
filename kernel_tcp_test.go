// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"strings"
	"testing"

	"github.com/p2pos/p2pos/internal/natlab"
)

// A node whose network passes no UDP joins over TCP at port 443, knows why, and
// talks to one behind a carrier's NAT.
func TestKernelUDPBlocked(t *testing.T) {
	natlab.Need(t)
	t.Parallel()
	l := natlab.New(t)
	var join []string
	for _, name := range []string{"p1", "p2", "p3", "p4"} {
		h := l.Public(name)
		at := h.Addr().String() + ":443"
		p := startChild(t, h, append([]string{"listen=" + at, "tcp=" + at}, join[:min(len(join), 1)]...)...)
		p.wait("ready")
		join = append(join, "join="+at)
	}
	a, b := startChild(t, l.Site("a", natlab.UDPBlocked), join[:2]...), startChild(t, l.Site("b", natlab.CGN), join[2:]...)
	for verdict := ""; !strings.HasPrefix(verdict, "udp-blocked"); {
		verdict = a.wait("verdict ")
	}
	b.wait("verdict ")
	talk(t, a, b)
}

// Two nodes without UDP that have joined at different nodes find each other at once:
// they take their places in the network over TCP, before any verdict.
func TestKernelUDPBlockedBoth(t *testing.T) {
	natlab.Need(t)
	t.Parallel()
	l := natlab.New(t)
	var join []string
	for _, name := range []string{"p1", "p2", "p3", "p4"} {
		h := l.Public(name)
		at := h.Addr().String() + ":443"
		p := startChild(t, h, append([]string{"listen=" + at, "tcp=" + at}, join[:min(len(join), 1)]...)...)
		p.wait("ready")
		join = append(join, "join="+at)
	}
	a, b := startChild(t, l.Site("a", natlab.UDPBlocked), join[:2]...), startChild(t, l.Site("b", natlab.UDPBlocked), join[2:]...)
	for _, n := range []*child{a, b} {
		n.say("links 4")
		n.wait("linked ")
	}
	talk(t, a, b)
}

// talk has one process call another by ticket; both have to hear the other.
func talk(t *testing.T, a, b *child) {
	t.Helper()
	a.say("call %s", b.ticket())
	t.Log("answered", a.wait("answered "))
	for _, n := range []*child{a, b} {
		t.Log(n.wait("heard "))
	}
}
