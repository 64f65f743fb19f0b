// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// pcp runs one PCP errand.
func (s *session) pcp(ctx context.Context, t task) (grant, error) {
	if t.verb == verbCheck {
		p, err := s.exchange(ctx, appendAnnounce(nil, s.net.internal.Addr()), func(p pcpResponse) bool { return p.op == opAnnounce })
		return grant{epoch: p.epoch, hasEpoch: true}, err
	}
	req := mapRequest{internal: s.net.internal, nonce: s.nonce}
	if t.verb == verbMap {
		req.lifetime, req.external = uint32(t.lifetime/time.Second), t.external
		if !req.external.IsValid() { // any address, our own port if it can be had
			req.external = netip.AddrPortFrom(netip.Addr{}, s.net.internal.Port())
		}
	}
	ours := func(p pcpResponse) bool {
		return p.op == opMap && p.nonce == s.nonce && p.protocol == protoUDP && p.internal == s.net.internal.Port()
	}
	p, err := s.exchange(ctx, req.append(nil), ours)
	var refused *RefusedError
	if t.verb == verbDrop && errors.As(err, &refused) && refused.Code == pcpNotAuthorized {
		// miniupnpd 2.3.1 doesn't know the nonce of an IPv6 pinhole any more once
		// it was renewed. Then let it expire as soon as the router allows.
		req.lifetime = 1
		if _, short := s.exchange(ctx, req.append(nil), ours); short == nil {
			err = nil
		}
	}
	return grant{
		external: p.external, lifetime: time.Duration(p.lifetime) * time.Second,
		epoch: p.epoch, hasEpoch: true,
	}, err
}

// exchange sends a request until a response comes that accept takes. Others
// are counted and ignored: they may be forged to make us give up.
func (s *session) exchange(ctx context.Context, req []byte, accept func(pcpResponse) bool) (pcpResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, datagramLimit)
	defer cancel()
	conn, err := dialUDP(s.net, pcpPort)
	if err != nil {
		return pcpResponse{}, err
	}
	defer conn.Close()
	defer atEnd(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()

	buf := make([]byte, pcpMax+1)
	wait := firstResend
	silent := func(err error) error {
		if wait > 2*firstResend { // two requests and time for an answer: nobody is there
			return ErrNoAnswer
		}
		return givenUp(err)
	}
	for ignored := 0; ignored < maxIgnored; {
		if err := ctx.Err(); err != nil {
			return pcpResponse{}, silent(err)
		}
		if _, err := conn.Write(req); err != nil {
			return pcpResponse{}, fmt.Errorf("%w: %w", ErrNoAnswer, err)
		}
		conn.SetReadDeadline(time.Now().Add(wait))
		wait *= 2
		for ; ignored < maxIgnored; ignored++ {
			if err := ctx.Err(); err != nil { // the deadline above may have come after its
				return pcpResponse{}, silent(err)
			}
			n, err := conn.Read(buf)
			if isTimeout(err) {
				break // send again
			}
			if err != nil { // most often ECONNREFUSED: nobody listens there
				return pcpResponse{}, fmt.Errorf("%w: %w", ErrNoAnswer, err)
			}
			p, err := parsePCP(buf[:n])
			switch {
			case errors.Is(err, errOldVersion):
				return p, err
			case n > pcpMax:
				s.count.oversized.Add(1)
			case err != nil:
				s.count.malformed.Add(1)
			case !accept(p):
				s.count.mismatched.Add(1)
			case p.result != 0:
				return p, &RefusedError{PCP, int(p.result), pcpText(p.result)}
			default:
				return p, nil
			}
		}
	}
	return pcpResponse{}, fmt.Errorf("%w: %d packets that are none", ErrUnusable, maxIgnored)
}

// givenUp tells a limit of our own, which means silence, from being called off.
func givenUp(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return ErrNoAnswer
	}
	return err
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// dialUDP opens a socket that hears only the router's port, from the address
// that the mapping is for: routers map nothing for others.
func dialUDP(n network, port uint16) (*net.UDPConn, error) {
	local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.internal.Addr(), 0))
	remote := net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.gateway, port))
	conn, err := net.DialUDP("udp", local, remote)
	if err != nil {
		return nil, fmt.Errorf("portmap: socket to the router: %w", err)
	}
	return conn, nil
}
