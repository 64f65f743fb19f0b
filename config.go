// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/overlay/relay"
)

// Network is a closed network, or with its zero value the public one. Make one
// with identity.NewNetwork, hand identity.Network.Text to its members.
type Network = identity.Network

// RelayLimits says what a node gives to others. The zero value is the default.
type RelayLimits = relay.Limits

// RelayAsk is a question to Config.MayRelay.
type RelayAsk = overlay.RelayAsk

// Config configures a Node. The zero value works: identity in the user's
// configuration directory, unencrypted, public network, any UDP port. New
// copies it.
type Config struct {
	// Dir holds the identity. "" is "p2pos" in the user's configuration
	// directory (os.UserConfigDir). It is made with mode 0700 when missing. Two
	// nodes at a time need two, in one process as well.
	Dir string
	// Name is shown to people who are called, at most 64 bytes. "" = none.
	Name string
	// Passphrase encrypts the key store. nil leaves a new store unencrypted,
	// with file mode 0600. It is called once by New; its result is wiped.
	Passphrase func() ([]byte, error)
	// Network is the network to be in. Zero = the public one.
	Network Network
	// Admin is the public key of the network's admin. With it only people on the
	// admin's roster belong (SetRoster), and everybody in the network may see who
	// its neighbours are. Zero = whoever has the network's secret belongs. It needs
	// a Network that isn't the public one, and is the same on all its nodes.
	Admin Admin
	// Join lists where to start: tickets, and addresses as host:port. At
	// least one that answers makes the node part of the network.
	Join []string
	// Listen is the UDP address of the node's socket. "" opens any free port
	// for IPv4 and, where there is IPv6, the same one for it.
	Listen string
	// PacketConn replaces the UDP socket; Listen is then ignored. The node
	// owns and closes it. Its addresses must be *net.UDPAddr. If it has a method
	// Open(port uint16) (net.PacketConn, error), the node opens further sockets
	// of the same kind with it, port 0 for any: a NAT that has an outside port
	// for each address written to is told apart, and passed, by several.
	PacketConn net.PacketConn
	// ListenTCP is a TCP address, host:port, where the node takes links as well:
	// 443 lets those in whose network passes no UDP. "" takes none. Such nodes
	// dial TCP by themselves.
	ListenTCP string
	// Relay limits what this node carries for others: two calls and a few small
	// links by default. A negative Rate carries nothing.
	Relay RelayLimits
	// MayRelay is asked once for each neighbour, before this node carries anything
	// for it; an error refuses, and such neighbours find other relays. nil lets all.
	// It runs on a goroutine of its own, at most 16 at a time, for which Close does
	// not wait.
	MayRelay func(RelayAsk) error
	// TURN names servers (RFC 8656), a company's for instance, at most two. This
	// node holds an address at each, and its calls may go through them as through
	// any relay: where no neighbour carries them, and no direct path is found. A
	// server sees whom this node calls by address, and no content. nil = none.
	TURN []TURNServer
	// ServeTURN, where it isn't nil, makes the node a TURN server for WebRTC agents
	// that are no nodes, on a socket of its own: see Node.TURNCredentials. Its
	// Relay is this computer's public IPv4 address. Its log is Status.TURN.
	ServeTURN *TURNService
	// MaxLinks bounds the links to other nodes that the network makes: 0 = 110, 60
	// behind a NAT that takes a port for each. Fewer than 16 are not enough to be
	// found by. Sessions with people come on top.
	MaxLinks int
	// HoldSize is how many bytes of sealed messages for people who are away this
	// node may hold for others: 0 = 64 MiB; negative = none.
	HoldSize int64
	// Ports bounds the UDP ports that the node uses, the first and the last of a
	// range: for firewalls. A port search for a direct path has to make do with
	// them. Zero = any. Listen is used as it is.
	Ports [2]uint16
	// Interfaces names the network interfaces to use, in order of preference; one
	// that begins with "-" is avoided, and with nothing but such all others are
	// used. The node's sockets are bound to the addresses that the first of them
	// has at the start, and LAN discovery is done on these interfaces alone. nil =
	// the system decides. It is not for use together with Listen or PacketConn.
	Interfaces []string
	// DSCP marks packets of voice and picture for routers that look at it (RFC
	// 8837 has 46 for voice), those that are relayed for others included: 0 to 63,
	// 0 = no mark. On Linux; elsewhere packets stay unmarked.
	DSCP int
	// PortShare is the part of this household's ports that the search for a
	// direct path may use beside a relayed call, where the carrier's NAT gives
	// out a block of ports and takes a new one for each connection: from 0 to
	// 0.5, 0 means 0.25. With both sides' half such a search takes about a
	// minute, with a quarter three; other programs of the household find fewer
	// free ports meanwhile. Links count as well.
	PortShare float64
	// NoLAN keeps the node off the LAN's multicast. Else it announces itself there
	// by mDNS, under a random name of this start and with the tag of the
	// network, and links to other nodes of the network that do: no ticket and no
	// Internet is needed for that. It never does with a socket on a loopback
	// address, nor with PacketConn.
	NoLAN bool
	// NoPortMap leaves the router alone. Else the node asks it by PCP, NAT-PMP or
	// UPnP to let strangers' packets through to the node's port, and takes that
	// back at Close. It never asks for a socket on a loopback address, nor for
	// PacketConn.
	NoPortMap bool
	// STUN names servers (RFC 8489) as host:port, tried in turn: one more
	// vantage point, and the only one of a node that is alone, whose tickets
	// name its outside address then. Those that know RFC 5780 tell more. nil =
	// none, neighbours are enough.
	STUN []string
	// MaxCalls is how many calls the node holds at once, those that ring or are
	// on hold included; others find it busy. 0 = 8, the most. 1 = busy in a
	// call: no second one rings.
	MaxCalls int
	// StoreSize is how many bytes contacts, history and messages may take on the
	// disk, about; 0 is 256 MiB. When they are reached the oldest history goes,
	// never a message that waits for its receiver. A quarter of it comes on top
	// for messages that are held for others. Nothing is written before there is
	// something to keep. At least 1 MiB.
	StoreSize int64
	// Knocks lets strangers who know this node's ID and nothing else leave word
	// (event Knock), a line a day and person. Nothing rings; the app may call
	// back. It costs them some work and this node a small question every five
	// minutes, and shows everybody who knows the ID that a device of it was online
	// within the last hours. It needs the identity key: a linked device without it
	// has no inbox.
	Knocks bool
	// KnockRings decides whether such word may ring: Knock.Rings then says that the
	// app should sound as for a call, which is taken by calling Knock.Peer back. The
	// node itself makes no noise and calls nobody. Each question has a goroutine of
	// its own, at most 16 at a time, for which Close doesn't wait; a panic, a
	// seventeenth and an answer after 8 s are a no, and so is nil: nothing rings.
	// Knock.Name and Text are the stranger's words: go by Peer, the hour, or how
	// many have come.
	KnockRings func(Knock) bool
	// Policy is asked before somebody may do something with this node: see
	// Action. An error refuses it: the other side hears "denied" or the like, the
	// app nothing. nil lets every node of the network link and have relayed what
	// Relay allows, and everybody who holds a ticket ring, write and offer files.
	//
	// Each question has a goroutine of its own, and nothing but what it is about
	// waits for the answer; it may block, and a panic is a refusal. Of calls at
	// most 16 are asked about at a time and one for each caller; an answer that
	// takes longer than 8 s comes too late. Answers about links
	// (ActLink) and texts (ActMessage) hold for a minute; one about a link that takes
	// more than 5 s counts for the next try. Texts wait for theirs, a quarter of a
	// second at least, and refused ones stay with their author, who isn't told. Where MayRelay is set, that decides about relaying. Close doesn't
	// wait for answers.
	Policy func(Ask) error
	// Audit is told what happened: calls, files, messages and links that ended,
	// and what Policy has denied. It is called on a goroutine of its own, one
	// event at a time, in order. It may block and panic: 1,024 events wait, further
	// ones are dropped and counted (Status.Dropped, "audit"). Close waits a second
	// at most for those that wait. nil = nobody is told.
	Audit func(AuditEvent)
	// Logger gets what the node does and meets; no addresses above Debug,
	// never content. nil = silent.
	Logger *slog.Logger
}

func (c *Config) dir() (string, error) {
	if c.Dir != "" {
		return c.Dir, nil
	}
	base, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("p2pos: no place for the identity, set Config.Dir: %w", err)
	}
	return filepath.Join(base, "p2pos"), nil
}
