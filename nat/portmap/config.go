// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"log/slog"
	"net/netip"
	"time"
)

// Config says what to map. Internal's port is all that must be set.
type Config struct {
	// Internal is the UDP socket's local address. An unspecified IPv4 address
	// stands for the one that routes to the router; an unspecified IPv6 address
	// or none at all for that and the IPv6 one, as a dual-stack socket has them.
	Internal netip.AddrPort

	// Logger hears of mappings made and lost; nil is silent.
	Logger *slog.Logger

	// Gateway and Gateway6 return the router's address in either family, a
	// link-local one with its zone. They are called every ten seconds and must
	// not block. Nil reads the system's routing table.
	Gateway, Gateway6 func() (netip.Addr, error)

	// Secret, if set, makes PCP's nonces repeatable, so that a program started
	// again after a crash may renew its old mapping instead of being refused
	// until it expires. It must be random, stored, and used for nothing else.
	Secret []byte

	// Methods limits what is tried; nil means all, best first.
	Methods []Method

	// Lifetime is how long the router is asked to keep a mapping that nobody
	// renews; 0 means one hour, values are held between 2 minutes and a day.
	Lifetime time.Duration
}

const (
	defaultLifetime = time.Hour // a crashed program's hole closes within it
	minAsked        = 2 * time.Minute
	maxAsked        = 24 * time.Hour // RFC 6887 §15: servers cap there as well
)

// asked returns the lifetime to ask for.
func (c Config) asked() time.Duration {
	if c.Lifetime == 0 {
		return defaultLifetime
	}
	return min(max(c.Lifetime, minAsked), maxAsked)
}

// methods returns what to try in a family, best first. NAT-PMP knows no IPv6.
func (c Config) methods(v6 bool) (list []Method) {
	for _, m := range []Method{PCP, NATPMP, UPnP} {
		wanted := len(c.Methods) == 0
		for _, w := range c.Methods {
			wanted = wanted || w == m
		}
		if wanted && !(v6 && m == NATPMP) {
			list = append(list, m)
		}
	}
	return list
}

// families says which of IPv4 and IPv6 the socket can receive on.
func (c Config) families() (v4, v6 bool) {
	a := c.Internal.Addr().Unmap()
	switch {
	case !a.IsValid(), a == netip.IPv6Unspecified():
		return true, true
	default:
		return a.Is4(), a.Is6()
	}
}
