// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// grant is a router's answer to the request for a mapping or to a check, as
// the protocol gave it. It is not to be believed before judge has seen it.
type grant struct {
	external netip.AddrPort
	lifetime time.Duration
	outside  netip.Addr // the router's own outside address, if it told
	epoch    uint32
	hasEpoch bool
}

const (
	// minLifetime is the shortest mapping of use: below it, renewing takes more
	// packets than keeping a NAT mapping open by hand.
	minLifetime = 30 * time.Second
	// maxLifetime is the longest that is believed (RFC 6887 §15).
	maxLifetime = 24 * time.Hour
)

var (
	errBadExternal = fmt.Errorf("%w: external address", ErrUnusable)
	errBadLifetime = fmt.Errorf("%w: lifetime", ErrUnusable)
)

// judge turns a grant into a mapping, or says why it is none.
func judge(n network, m Method, g grant) (Mapping, error) {
	ext := netip.AddrPortFrom(g.external.Addr().Unmap(), g.external.Port())
	if ext.Port() == 0 {
		return Mapping{}, fmt.Errorf("%w without a port", errBadExternal)
	}
	if err := usable(n, ext.Addr()); err != nil {
		return Mapping{}, err
	}
	if g.lifetime < minLifetime {
		return Mapping{}, fmt.Errorf("%w of %v is too short", errBadLifetime, g.lifetime)
	}
	return Mapping{
		Method: m, External: ext, Internal: n.internal, Gateway: n.gateway,
		Lifetime: min(g.lifetime, maxLifetime),
		Layer2:   middle(ext.Addr()),
	}, nil
}

// usable says whether anybody could be reached at an external address.
func usable(n network, a netip.Addr) error {
	inside := n.internal.Addr()
	switch {
	case !a.IsValid(), a.Is4() != inside.Is4():
		return fmt.Errorf("%w of another family: %v", errBadExternal, a)
	case a.IsUnspecified():
		return fmt.Errorf("%w is unspecified: the router is not online", errBadExternal)
	case a.IsLoopback(), a.IsMulticast(), a.IsLinkLocalUnicast(), a.Zone() != "":
		return fmt.Errorf("%w is %v", errBadExternal, a)
	case a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240):
		return fmt.Errorf("%w is reserved: %v", errBadExternal, a)
	case a.Is4() && a == n.gateway, a.Is4() && a == inside && middle(a):
		return fmt.Errorf("%w is an inside one: %v", errBadExternal, a)
	}
	return nil
}

// middle says whether an address stands between two NATs: RFC 1918, the shared
// space of carriers (RFC 6598), DS-Lite (RFC 6333), unique local IPv6.
func middle(a netip.Addr) bool {
	if a.IsPrivate() {
		return true
	}
	if !a.Is4() {
		return false
	}
	b := a.As4()
	return b[0] == 100 && b[1]&0xc0 == 64 || b[0] == 192 && b[1] == 0 && b[2] == 0 && b[3] < 8
}

// definite says whether a mapping that could not be renewed for this reason is
// gone. After other failures it may live until it expires.
func definite(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused) || errors.Is(err, errGone) || errors.Is(err, errOldVersion) ||
		errors.Is(err, errBadExternal) || errors.Is(err, errBadLifetime)
}
