// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/internal/simnet"
)

const (
	// oneWay is the delay between any two nodes, half of it on the access link
	// of each.
	oneWay = 25 * time.Millisecond
	port   = 4000
)

// place is where a node stands in the simulated network.
type place struct {
	name   string
	addr   netip.Addr // its own
	nat    netip.Addr // its NAT box's outside; not valid = it has none
	x, y   float64    // in the picture
	nx, ny float64    // of the box
}

func (p place) natted() bool { return p.nat.IsValid() }

// places are the five nodes of the demo. c is where the others start; it is as
// ordinary as they are.
var places = []place{
	{name: "a", addr: netip.MustParseAddr("192.168.1.2"), nat: netip.MustParseAddr("46.0.0.1"), x: 120, y: 338, nx: 285, ny: 338},
	{name: "b", addr: netip.MustParseAddr("192.168.1.2"), nat: netip.MustParseAddr("46.0.0.2"), x: 1080, y: 338, nx: 915, ny: 338},
	{name: "c", addr: netip.MustParseAddr("45.0.0.1"), x: 600, y: 214},
	{name: "d", addr: netip.MustParseAddr("45.0.0.2"), x: 420, y: 128},
	{name: "e", addr: netip.MustParseAddr("45.0.0.3"), x: 780, y: 128},
}

// network is a simulated Internet that runs in real time, with nodes on it.
type network struct {
	net   *simnet.Net
	nodes map[string]*p2pos.Node
}

// newNetwork starts the nodes. loss is the share of packets that the way
// between a and b loses.
func newNetwork(dir string, loss float64, log *slog.Logger) (*network, error) {
	world := simnet.NewWorld(uint64(time.Now().UnixNano()), time.Now())
	n := &network{net: simnet.Start(world), nodes: make(map[string]*p2pos.Node)}
	// The way leads over two links; each loses its part.
	access := simnet.Profile{Delay: oneWay / 2}
	lossy := simnet.Profile{Delay: oneWay / 2, Loss: 1 - math.Sqrt(1-loss)}
	join := fmt.Sprintf("%v:%d", places[2].addr, port)
	for _, p := range places {
		var host *simnet.Host
		n.net.Do(func(w *simnet.World) {
			if !p.natted() {
				host = w.Host(p.name, access, p.addr)
				return
			}
			// The common home router: one outside port for each inside one, and
			// nobody gets in to whom nothing was sent.
			box := w.NAT("NAT box of "+p.name, simnet.Profile{}, simnet.NATConfig{
				Pool: []netip.Addr{p.nat}, Ports: simnet.Random, Filtering: simnet.AddressAndPortDependent,
			})
			host = box.Host(p.name, lossy, p.addr)
		})
		conn, err := n.net.Listen(host, port)
		if err != nil {
			n.close()
			return nil, err
		}
		c := p2pos.Config{Dir: filepath.Join(dir, p.name), Name: p.name, PacketConn: conn}
		if p.name != "c" {
			c.Join = []string{join}
		}
		if log != nil {
			c.Logger = log.With("on", p.name)
		}
		if n.nodes[p.name], err = p2pos.New(c); err != nil {
			delete(n.nodes, p.name)
			n.close()
			return nil, err
		}
	}
	return n, nil
}

// links returns which nodes are linked, by name, as they say themselves.
func (n *network) links() [][2]string {
	names := make(map[string]string)
	for name, node := range n.nodes {
		names[node.NodeID().String()] = name
	}
	var list [][2]string
	for _, p := range places {
		for _, peer := range n.nodes[p.name].Status().Peers {
			if other := names[peer.Node.String()]; p.name < other {
				list = append(list, [2]string{p.name, other})
			}
		}
	}
	return list
}

func (n *network) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, node := range n.nodes {
		node.Shutdown(ctx)
	}
	n.net.Close()
}
