// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
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
	// directory (os.UserConfigDir). It is made with mode 0700 when missing.
	Dir string
	// Name is shown to people who are called, at most 64 bytes. "" = none.
	Name string
	// Passphrase encrypts the key store. nil leaves a new store unencrypted,
	// with file mode 0600. It is called once by New; its result is wiped.
	Passphrase func() ([]byte, error)
	// Network is the network to be in. Zero = the public one.
	Network Network
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
	// Policy is asked before a call rings, and before anybody hears of it. An
	// error refuses it: the caller hears "denied", the app nothing. nil lets
	// everybody ring who holds a ticket. Each question has a goroutine of its
	// own, at most 16 at a time and one for each caller; an answer that takes
	// longer than 8 s comes too late. Close doesn't wait for it.
	Policy func(Ask) error
	// Logger gets what the node does and meets; no addresses above Debug,
	// never content. nil = silent.
	Logger *slog.Logger
}

// Ask is a question to Config.Policy.
type Ask struct {
	Peer identity.ID // who calls, proved
	Name string      // as the caller gives it
	// Contact is the caller's entry in the address book when Known. Who is
	// blocked there is never asked about.
	Contact Contact
	Known   bool
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

const (
	// maxName bounds the display name (design/001-wire.md).
	maxName = 64
	// minStore holds a thousand contacts and a few thousand messages.
	minStore = 1 << 20
)

// maxPortShare leaves a household enough ports to browse with.
const maxPortShare = 0.5

func (c *Config) check() error {
	if len(c.Name) > maxName {
		return fmt.Errorf("p2pos: name of %d bytes, at most %d are allowed", len(c.Name), maxName)
	}
	if !(c.PortShare >= 0 && c.PortShare <= maxPortShare) { // NaN too
		return fmt.Errorf("p2pos: PortShare %v is not between 0 and %v", c.PortShare, maxPortShare)
	}
	if c.StoreSize != 0 && c.StoreSize < minStore {
		return fmt.Errorf("p2pos: StoreSize of %d bytes, at least %d are needed", c.StoreSize, minStore)
	}
	for _, s := range c.STUN {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return fmt.Errorf("p2pos: STUN server %q: %w", s, err)
		}
	}
	if err := c.checkTURN(); err != nil {
		return err
	}
	if err := c.Network.Check(); err != nil {
		return fmt.Errorf("p2pos: %w", err)
	}
	return nil
}

// sockets opens the node's sockets: the one given, the one address asked for,
// or one for each address family on the same port where that is free.
func (c *Config) sockets(last uint16) ([]net.PacketConn, error) {
	if c.PacketConn != nil {
		return []net.PacketConn{c.PacketConn}, nil
	}
	if c.Listen != "" {
		conn, err := net.ListenPacket("udp", c.Listen)
		if err != nil {
			return nil, fmt.Errorf("p2pos: cannot listen: %w", err)
		}
		return split(conn)
	}
	// The port of the last start, where it is free: a NAT may still know it,
	// and so may others.
	v4, err4 := net.ListenPacket("udp4", fmt.Sprintf(":%d", last))
	if err4 != nil && last != 0 {
		v4, err4 = net.ListenPacket("udp4", ":0")
	}
	if err4 != nil {
		v6, err6 := net.ListenPacket("udp6", "[::]:0")
		if err6 != nil {
			return nil, fmt.Errorf("p2pos: cannot listen: %w", err4)
		}
		return []net.PacketConn{v6}, nil
	}
	return withV6(v4), nil
}

// opener opens one more socket, for tests of the NAT and for punching.
type opener func(ipv4 bool, port uint16) (net.PacketConn, error)

// opener returns nil when the app gave the socket itself, and no way to others.
func (c *Config) opener(conns []net.PacketConn) opener {
	if c.PacketConn != nil {
		if o, ok := c.PacketConn.(interface {
			Open(port uint16) (net.PacketConn, error)
		}); ok {
			return func(_ bool, port uint16) (net.PacketConn, error) { return o.Open(port) }
		}
		return nil
	}
	bound := map[bool]netip.Addr{true: netip.IPv4Unspecified(), false: netip.IPv6Unspecified()}
	for _, conn := range conns {
		if a := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(); !a.IsUnspecified() {
			bound[a.Is4()] = a
		}
	}
	return func(ipv4 bool, port uint16) (net.PacketConn, error) {
		network := "udp6"
		if ipv4 {
			network = "udp4"
		}
		return net.ListenPacket(network, netip.AddrPortFrom(bound[ipv4], port).String())
	}
}

// split turns a socket that receives both families on one wildcard address
// into one for each, so that each has its own paths.
func split(conn net.PacketConn) ([]net.PacketConn, error) {
	a := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if !a.Addr().Is6() || !a.Addr().IsUnspecified() {
		return []net.PacketConn{conn}, nil
	}
	conn.Close()
	v4, err := net.ListenPacket("udp4", netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port()).String())
	if err != nil {
		return nil, fmt.Errorf("p2pos: cannot listen: %w", err)
	}
	return withV6(v4), nil
}

func withV6(v4 net.PacketConn) []net.PacketConn {
	port := v4.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	v6, err := net.ListenPacket("udp6", netip.AddrPortFrom(netip.IPv6Unspecified(), port).String())
	if err != nil {
		v6, err = net.ListenPacket("udp6", "[::]:0")
	}
	if err != nil {
		return []net.PacketConn{v4}
	}
	return []net.PacketConn{v4, v6}
}
