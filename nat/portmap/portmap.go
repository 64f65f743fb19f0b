// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Method is a protocol that a router may speak.
type Method string

// The methods, best first: PCP knows who owns a mapping and tells when the
// router forgot it, NAT-PMP only the latter, UPnP neither.
const (
	PCP    Method = "pcp"
	NATPMP Method = "nat-pmp"
	UPnP   Method = "upnp"
)

// Mapping is a promise of a router to pass datagrams for External to Internal.
type Mapping struct {
	Method   Method
	External netip.AddrPort // for an IPv6 pinhole usually equal to Internal
	Internal netip.AddrPort
	Lifetime time.Duration // as granted; renewed long before it ends
	Gateway  netip.Addr    // the router's inside address
	// Layer2 says that External is private, shared (100.64.0.0/10) or of
	// DS-Lite: a middle address of two NATs, not reachable from the Internet.
	Layer2 bool
}

// Event is one of Mapped, Lost, External, Failed.
type Event interface{ event() }

// Mapped says that a mapping stands, or stands at another external address or
// by another method than before.
type Mapped struct{ Mapping }

// Lost says that nothing arrives through this external address any more.
type Lost struct {
	Mapping
	Err error // why
}

// External tells the router's outside address whenever it is learned or
// changes, even if no mapping can be had.
type External struct {
	Gateway netip.Addr
	Addr    netip.Addr
	Layer2  bool // as in Mapping
}

// Failed says that no method gave a mapping, once for each network; trying
// goes on. V6 tells which address family, Err has the reason of each method.
type Failed struct {
	V6      bool
	Gateway netip.Addr // zero when there is no router
	Err     error
}

func (Mapped) event()   {}
func (Lost) event()     {}
func (External) event() {}
func (Failed) event()   {}

// The reasons for a method's failure, beside RefusedError.
var (
	// ErrNoGateway reports that the system knows no router.
	ErrNoGateway = errors.New("portmap: no router")
	// ErrNoAnswer reports that nothing on the router answered.
	ErrNoAnswer = errors.New("portmap: no answer")
	// ErrUnusable reports an answer that makes no sense or can't be used.
	ErrUnusable = errors.New("portmap: unusable answer")
)

// RefusedError is a router's no, with the protocol's own code.
type RefusedError struct {
	Method Method
	Code   int
	Text   string // the router's own words are cut to 64 bytes
}

// Error returns the method, the code and its meaning.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("portmap: %s refused with code %d (%s)", e.Method, e.Code, e.Text)
}

// Stats counts input that was dropped or refused since Open.
type Stats struct {
	Malformed   uint64 // not of the protocol, truncated, another transaction's
	Mismatched  uint64 // a PCP answer with another nonce, port or protocol
	Foreign     uint64 // from or pointing to a host that isn't the router
	Oversized   uint64 // answers above their limit
	BadExternal uint64 // external addresses nobody can be reached at
	BadLifetime uint64 // mappings too short to be of use
	Refused     uint64 // the router said no
	Events      uint64 // events dropped because nobody read them
}

// network is where mappings are made: another one has another router or
// another local address.
type network struct {
	gateway  netip.Addr
	internal netip.AddrPort
}

func (n network) v6() bool { return n.internal.Addr().Is6() }
