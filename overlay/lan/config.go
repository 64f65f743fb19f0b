// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
)

// Config says what to announce. Port is needed; the rest has defaults.
type Config struct {
	// Port is the UDP port that takes links.
	Port uint16
	// Addrs are the addresses that Port is bound to: an unspecified one stands
	// for all of its family, others are announced where an interface has them.
	// nil = all of both families.
	Addrs []netip.Addr
	// Instance is the name of this start of the node, a DNS label of letters,
	// digits and hyphens. "" = a random one, which is what a node should have.
	Instance string
	// Network is the tag of the node's network; others are not found.
	Network [4]byte
	// Interfaces chooses among the interfaces that are up, can multicast and are
	// neither loopback nor point-to-point. nil = all. It is called from the
	// service's own goroutine, too.
	Interfaces func(net.Interface) bool
	// Logger gets what the service meets. nil = silent.
	Logger *slog.Logger
}

// ErrLoopback is Start's answer when Config.Addrs has nothing but loopback.
var ErrLoopback = errors.New("lan: nothing to announce but loopback")

// instanceBytes of randomness make a name that needs no probing: 80 bits.
const instanceBytes = 10

// maxLabel is the longest DNS label (RFC 1035 §2.3.4).
const maxLabel = 63

// check returns the configuration with its defaults filled in.
func (c Config) check() (Config, error) {
	if c.Port == 0 {
		return c, errors.New("lan: no port to announce")
	}
	if c.Addrs == nil {
		c.Addrs = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	var addrs []netip.Addr
	for _, a := range c.Addrs {
		if a = a.Unmap().WithZone(""); a.IsValid() && !a.IsLoopback() {
			addrs = append(addrs, a)
		}
	}
	if c.Addrs = addrs; len(addrs) == 0 {
		return c, ErrLoopback
	}
	if c.Instance == "" {
		var b [instanceBytes]byte
		rand.Read(b[:])
		c.Instance = hex.EncodeToString(b[:])
	}
	if len(c.Instance) > maxLabel || strings.Trim(c.Instance, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return c, fmt.Errorf("lan: instance name %q", c.Instance)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
