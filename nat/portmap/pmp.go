// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	natpmp "github.com/jackpal/go-nat-pmp"
)

// pmp runs one NAT-PMP errand. The library can't be interrupted, so its
// exchanges are short, and the context is looked at between them.
func (s *session) pmp(ctx context.Context, t task) (grant, error) {
	c, err := s.pmpClient(ctx)
	if err != nil {
		return grant{}, err
	}
	port := int(s.net.internal.Port())
	if t.verb == verbDrop {
		_, err := c.AddPortMapping("udp", port, 0, 0)
		return grant{}, s.pmpError(err)
	}
	a, err := c.GetExternalAddress()
	if err != nil {
		return grant{}, s.pmpError(err)
	}
	g := grant{outside: netip.AddrFrom4(a.ExternalIPAddress), epoch: a.SecondsSinceStartOfEpoc, hasEpoch: true}
	if t.verb == verbCheck {
		return g, nil
	}
	if c, err = s.pmpClient(ctx); err != nil {
		return g, err
	}
	wish := port
	if t.external.IsValid() {
		wish = int(t.external.Port())
	}
	m, err := c.AddPortMapping("udp", port, wish, int(t.lifetime/time.Second))
	if err != nil {
		return g, s.pmpError(err)
	}
	if int(m.InternalPort) != port {
		s.count.mismatched.Add(1)
		return g, fmt.Errorf("%w: NAT-PMP mapped port %d, not %d", ErrUnusable, m.InternalPort, port)
	}
	g.external = netip.AddrPortFrom(g.outside, m.MappedExternalPort)
	g.lifetime = time.Duration(m.PortMappingLifetimeInSeconds) * time.Second
	g.epoch = m.SecondsSinceStartOfEpoc
	return g, nil
}

// pmpClient returns a client whose next exchange ends in time.
func (s *session) pmpClient(ctx context.Context) (*natpmp.Client, error) {
	limit := pmpLimit
	if err := ctx.Err(); err != nil {
		return nil, givenUp(err)
	}
	if d, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(d))
	}
	if limit <= 0 { // zero would mean two minutes
		return nil, ErrNoAnswer
	}
	return natpmp.NewClientWithLocalAndTimeout(s.net.gateway.AsSlice(), s.net.internal.Addr().AsSlice(), limit), nil
}

// pmpError sorts the library's errors, which are only text.
func (s *session) pmpError(err error) error {
	var network net.Error
	var code int
	switch {
	case err == nil:
		return nil
	case errors.As(err, &network), strings.HasPrefix(err.Error(), "Timed out"):
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	case scan(err, "Non-zero result code %d", &code):
		return &RefusedError{NATPMP, code, pmpText(code)}
	default:
		s.count.malformed.Add(1)
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
}

func scan(err error, format string, code *int) bool {
	n, _ := fmt.Sscanf(err.Error(), format, code)
	return n == 1
}

// pmpText names the result codes of RFC 6886 §3.5.
func pmpText(code int) string {
	names := [...]string{"success", "unsupported version", "not authorized", "network failure", "out of resources", "unsupported opcode"}
	if code > 0 && code < len(names) {
		return names[code]
	}
	return "unknown"
}
