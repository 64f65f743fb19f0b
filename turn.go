// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"fmt"

	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/overlay/relay"
)

// TURNServer is a server that relays this node's calls: URL and credentials.
type TURNServer = relay.TURN

// TURNService is what a node that serves TURN gives to guests.
type TURNService = relay.TURNServerConfig

// TURNCredentials are what a guest needs for a while: an RTCIceServer's fields.
type TURNCredentials = relay.TURNCredentials

// errNoTURN says that Config.ServeTURN is nil.
var errNoTURN = errors.New("p2pos: this node serves no TURN, see Config.ServeTURN")

// TURNCredentials returns what a WebRTC agent that is no node, a browser for
// instance, needs to be relayed here; name is whom they are for, at most 64 bytes,
// and counts its use. They are valid for Config.ServeTURN.Lifetime. The error is
// that this node serves no TURN.
func (n *Node) TURNCredentials(name string) (TURNCredentials, error) {
	if n.turn == nil {
		return TURNCredentials{}, errNoTURN
	}
	return n.turn.Credentials(name), nil
}

// serveTURN starts the service, if there is to be one.
func (n *Node) serveTURN() (err error) {
	if n.cfg.ServeTURN == nil {
		return nil
	}
	if n.turn, err = relay.ServeTURN(*n.cfg.ServeTURN); err != nil {
		return wrong("ServeTURN", "it can't be started", "give this computer's public IPv4 address as Relay and a free port", err)
	}
	return nil
}

func (n *Node) closeTURN() {
	if n.turn != nil {
		n.turn.Close()
	}
}

func (c *Config) checkTURN() error {
	if len(c.TURN) > overlay.MaxTURN {
		return wrong("TURN", fmt.Sprintf("%d servers", len(c.TURN)), fmt.Sprintf("give at most %d", overlay.MaxTURN), nil)
	}
	for i, t := range c.TURN {
		if err := t.Check(); err != nil {
			return wrong(fmt.Sprintf("TURN[%d]", i), fmt.Sprintf("%q", t.URL), "give a URL such as turn:relay.example.org", err)
		}
	}
	return nil
}
