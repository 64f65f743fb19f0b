// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/nat"
)

const (
	// oneWay is the delay between any two nodes, half of it on the access link
	// of each.
	oneWay = 25 * time.Millisecond
	port   = 4000
	// inside is the address of every node in its home network.
	inside = "192.168.1.2"
)

// class is a kind of NAT box.
type class struct {
	name, does, colour string
	count              int
	box                simnet.NATConfig
}

// The classes of boxes here (RFC 4787). The names are the old ones of RFC 3489,
// which most people know.
const (
	kept = iota
	cone
	address
	restricted
	symmetric
)

var classes = [...]class{
	kept: {
		"port kept open", "a full cone whose router keeps port 4000 open, as UPnP, PCP or a rule by hand does", "#15803d", 1,
		// The rule is one packet that never gets an answer, and a long life.
		simnet.NATConfig{Ports: simnet.Preserve, Unreplied: 24 * time.Hour},
	},
	cone:       {"full cone", "one outside port for all, and anybody may use it", "#0d9488", 3, simnet.NATConfig{}},
	address:    {"address-restricted", "lets in whose address was written to", "#2563eb", 4, simnet.NATConfig{Filtering: simnet.AddressDependent}},
	restricted: {"port-restricted", "lets in whose address and port were written to: the common home router", "#b45309", 8, simnet.NATConfig{Filtering: simnet.AddressAndPortDependent}},
	symmetric: {
		"symmetric", "the same, and another random outside port for each address written to", "#be123c", 8,
		simnet.NATConfig{Filtering: simnet.AddressAndPortDependent, Mapping: simnet.AddressAndPortDependent},
	},
}

// place is where a node stands in the simulated network.
type place struct {
	name   string // a, b, or a number
	class  int
	nat    netip.Addr // outside
	host   *simnet.Host
	node   *p2pos.Node
	joined time.Duration // until its first link stood
}

// network is a simulated Internet that runs in real time, with nodes on it.
type network struct {
	net    *simnet.Net
	places []*place
}

// socket is a socket of a host that can open others there. The node needs
// some to find out what its NAT does, and to search ports.
type socket struct {
	*simnet.Conn
	net  *simnet.Net
	host *simnet.Host
}

func (s socket) Open(port uint16) (net.PacketConn, error) { return s.net.Listen(s.host, port) }

// newNetwork starts the nodes, each behind a box of its own.
func newNetwork(dir string, log *slog.Logger) (*network, error) {
	world := simnet.NewWorld(uint64(time.Now().UnixNano()), time.Now())
	n := &network{net: simnet.Start(world)}
	for c := range classes {
		for range classes[c].count {
			if err := n.add(c, dir, log); err != nil {
				n.close()
				return nil, err
			}
		}
	}
	return n, nil
}

func (n *network) add(class int, dir string, log *slog.Logger) error {
	i := len(n.places)
	p := &place{name: fmt.Sprint(i + 1), class: class, nat: netip.AddrFrom4([4]byte{46, byte(i + 1), 0, 1})}
	box := classes[class].box
	box.Pool = []netip.Addr{p.nat}
	if class != kept {
		box.Ports = simnet.Random
	}
	n.net.Do(func(w *simnet.World) {
		home := w.NAT("NAT box of "+p.name, simnet.Profile{}, box)
		p.host = home.Host(p.name, simnet.Profile{Delay: oneWay / 2}, netip.MustParseAddr(inside))
	})
	conn, err := n.net.Listen(p.host, port)
	if err != nil {
		return err
	}
	c := p2pos.Config{Dir: filepath.Join(dir, p.name), Name: p.name, PacketConn: socket{conn, n.net, p.host}}
	if class == kept {
		conn.WriteToUDPAddrPort([]byte{0}, netip.MustParseAddrPort("46.255.0.1:9"))
	} else {
		c.Join = []string{netip.AddrPortFrom(n.places[kept].nat, port).String()}
	}
	if log != nil {
		c.Logger = log.With("on", p.name)
	}
	if p.node, err = p2pos.New(c); err != nil {
		return err
	}
	n.places = append(n.places, p)
	return nil
}

// apart is how long after each other they join.
const apart = 50 * time.Millisecond

// join links all with the one that can be reached, in any order. The rest they
// do among themselves.
func (n *network) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	failed := make(chan error, len(n.places))
	for i, at := range rand.Perm(len(n.places)) {
		p := n.places[at]
		go func() {
			select {
			case <-time.After(time.Duration(i) * apart):
			case <-ctx.Done():
			}
			start := time.Now()
			err := p.node.Join(ctx)
			p.joined = time.Since(start)
			if err != nil {
				err = fmt.Errorf("node %s could not join: %w", p.name, err)
			}
			failed <- err
		}()
	}
	var all error
	for range n.places {
		all = errors.Join(all, <-failed)
	}
	return all
}

// learnTime is what they get to learn what their NATs do. Most need two seconds;
// one that was slow to find neighbours may need more, and pick does without it.
const learnTime = 8 * time.Second

// learn waits until every node knows what its NAT does, or that time is over.
func (n *network) learn(ctx context.Context) error {
	start := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		all := true
		for _, p := range n.places {
			all = all && p.knows()
		}
		if all || time.Since(start) > learnTime {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *place) knows() bool { return p.node.NAT().Behaviour.Mapping != nat.UnknownDependence }

// link is one between two nodes, by their places in the list.
type link struct {
	a, b    int
	relayed bool
}

// links returns which nodes are linked, as they say themselves.
func (n *network) links() (list []link) {
	for i, p := range n.places {
		for _, peer := range p.node.Status().Peers {
			if j := n.find(peer.Node.String()); i < j && peer.Path.Kind != "" {
				list = append(list, link{i, j, peer.Path.Kind == "relay"})
			}
		}
	}
	return list
}

// find returns the place of the node with a node ID, or -1.
func (n *network) find(id string) int {
	for i, p := range n.places {
		if p.node.NodeID().String() == id {
			return i
		}
	}
	return -1
}

// pick chooses two that have no link with each other, so that the call has to
// find its way, and names them a and b. The more neighbours they share the
// better: two that relay the call, and see both sides, are what a search of
// ports needs. The way between them shall lose a share of the packets.
func (n *network) pick(classA, classB int, links []link, loss float64) (a, b *place, err error) {
	direct, known := make(map[[2]int]bool), make(map[[2]int]bool)
	for _, l := range links {
		for _, k := range [][2]int{{l.a, l.b}, {l.b, l.a}} {
			known[k], direct[k] = true, !l.relayed
		}
	}
	best := -1
	for i, p := range n.places {
		for j, q := range n.places {
			if i == j || p.class != classA || q.class != classB || known[[2]int{i, j}] || !p.knows() || !q.knows() {
				continue
			}
			common := 0
			for k := range n.places {
				if direct[[2]int{i, k}] && direct[[2]int{j, k}] {
					common++
				}
			}
			if common > best {
				best, a, b = common, p, q
			}
		}
	}
	if a == nil {
		return nil, nil, fmt.Errorf("no %s and %s node without a link between them that know their NATs", classes[classA].name, classes[classB].name)
	}
	a.name, b.name = "a", "b"
	n.net.Do(func(*simnet.World) {
		for _, h := range []*simnet.Host{a.host, b.host} { // the way leads over both access links
			h.SetProfile(simnet.Profile{Delay: oneWay / 2, Loss: 1 - math.Sqrt(1-loss)})
		}
	})
	return a, b, nil
}

func (n *network) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, p := range n.places {
		p.node.Shutdown(ctx)
	}
	n.net.Close()
}
