// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"unicode"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/nat"
)

const usage = `natcheck tells what NAT is around this computer, with the help of other nodes.

  -join WHERE      a node's host:port, or a ticket; may be repeated. It takes
                   three in different networks to be sure
  -wait SECONDS    how long to look; default 15. How long the NAT keeps a port
                   open shows after minutes only. Ctrl-C ends sooner
  -network SECRET  the nodes are those of a private network
  -dir DIR         be the node whose identity is kept there; default: one that
                   is new and thrown away afterwards
  -portmap=false   don't ask the router to open a port (UPnP, NAT-PMP, PCP)
  -json            write one JSON object, the softphone's nat event
  -v               log to stderr what the node does

Exit status: 0 when it could tell, 1 when it couldn't, 2 on bad flags.
`

// enough neighbours in different networks outvote one that lies.
const enough = 3

// around is who could tell us anything.
type around struct {
	named    int // by -join
	links    int
	inside   int // of the links, those that are on our own side of the NAT
	networks int // of the others
	failed   error
}

// carriers is the range that carriers use inside (RFC 6598).
var carriers = netip.MustParsePrefix("100.64.0.0/10")

// look counts the neighbours. Two in one /16, or /32 of IPv6, may well be the
// same one's. IPv4 and IPv6 have a NAT each, or none: the better known counts.
func look(s p2pos.Status) (a around) {
	seen := [2]map[netip.Prefix]bool{{}, {}}
	for _, p := range s.Peers {
		ip := p.Path.Remote.Addr().Unmap()
		a.links++
		if !ip.IsGlobalUnicast() || ip.IsPrivate() || carriers.Contains(ip) {
			a.inside++
			continue
		}
		family, bits := 0, 16
		if ip.Is6() {
			family, bits = 1, 32
		}
		prefix, _ := ip.Prefix(bits)
		seen[family][prefix] = true
	}
	a.networks = max(len(seen[0]), len(seen[1]))
	return a
}

// missing says what it would take to know more; nothing when there is enough.
func (a around) missing() (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch {
	case a.networks >= enough:
		return nil
	case a.named == 0:
		say("Nobody was named who could look at this computer from outside.")
	case a.links == 0 && a.failed == nil:
		say("All neighbours have gone.")
	case a.links == 0:
		say("None that -join names could be reached. Either none is there, or UDP does not get through from here.")
		if !errors.Is(a.failed, context.DeadlineExceeded) && !errors.Is(a.failed, context.Canceled) {
			for line := range strings.Lines(a.failed.Error()) {
				say("%s.", clean(line))
			}
		}
	case a.inside == a.links:
		say("The only neighbours (%d) are on this computer, in the same home, or in the same carrier's network, and don't see it from outside.", a.links)
	default:
		say("Only %s in %s could look at this computer from outside, and one may be wrong.",
			count(a.links-a.inside, "neighbour"), count(a.networks, "network"))
		if a.links < a.named {
			say("Linked are %d of the %d that -join names.", a.links, a.named)
		}
	}
	say("It takes %d nodes in different networks to be sure: join with -join HOST:PORT or -join TICKET, once for each.", enough)
	return out
}

// clean takes our package's name off an error, and what could move the cursor:
// the other side may have had a say in it.
func clean(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "p2pos: ", "")
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// page tells people what was found.
func page(w io.Writer, found p2pos.NAT, a around) error {
	var b strings.Builder
	item := func(s string) { wrap(&b, "  - ", "    ", s) }
	known := found.Behaviour.Mapping != nat.UnknownDependence
	b.WriteString("What NAT this is, and what can be reached\n")
	for _, s := range found.Behaviour.Explain() {
		item(s)
	}
	if known {
		if ips := found.Behaviour.Public; len(ips) > 0 {
			item(fmt.Sprintf("From outside this computer is seen at %s.", strings.Trim(fmt.Sprint(ips), "[]")))
		}
		fmt.Fprintf(&b, "\nHow sure that is: %.0f %%", 100*found.Behaviour.Confidence)
		if a.networks > 0 {
			fmt.Fprintf(&b, ", from %s in %s", count(a.links-a.inside, "neighbour"), count(a.networks, "network"))
		}
		b.WriteString("\n")
		for _, s := range found.Evidence {
			item(s)
		}
	}
	if why := a.missing(); len(why) > 0 {
		b.WriteString("\nWhat is missing\n")
		for _, s := range why {
			item(s)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// width is that of an ordinary terminal.
const width = 79

// wrap writes a paragraph.
func wrap(b *strings.Builder, first, next, text string) {
	line := first
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
			line += word
		case len([]rune(line))+1+len([]rune(word)) > width:
			b.WriteString(line + "\n")
			line = next + word
		default:
			line += " " + word
		}
	}
	b.WriteString(line + "\n")
}
