// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

const (
	// retryFirst and retryMost are the waits between rounds of attempts while
	// there is no link at all; they double.
	retryFirst = time.Second
	retryMost  = time.Minute
	// fewLinks make a node go on with its entries, from retryFew on; the mesh
	// calls a node with four usable.
	fewLinks = 4
	retryFew = 8 * time.Second
	// maxResolved bounds the addresses that one DNS name may add.
	maxResolved = 8
	// maxRemembered addresses are dialled at once: remembered nodes that need no
	// punch, the latest ones.
	maxRemembered = 16
	// meetTime is how long a round waits for remembered nodes when there is
	// nothing else to join: within it lies the start of at least one more slot
	// for appointments.
	meetTime = time.Minute
)

// Join makes the node part of the network: it tries everything in Config.Join,
// and the nodes that it remembers from earlier starts, at once, and returns when
// the first link stands. It goes on by itself whenever all links are lost, until
// Close. With nothing to join and nobody to remember it returns at once: such a
// node waits for others to link to it.
//
// It returns ctx's error, net.ErrClosed, or, when the first round of attempts
// has failed altogether, the errors of all entries (ErrOtherNetwork, ErrNotMember, ErrDenied,
// ErrOffline, those of identity for tickets); it goes on trying even then.
func (n *Node) Join(ctx context.Context) error {
	n.startJoin()
	n.mu.Lock()
	joining, first, tried := n.joining, n.first, n.tried
	n.mu.Unlock()
	if !joining {
		return n.closing(nil)
	}
	select {
	case <-first:
		return nil
	case <-tried:
	case <-ctx.Done():
		return n.closing(ctx.Err())
	case <-n.ctx.Done():
		return net.ErrClosed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.links > 0 {
		return nil
	}
	return n.closing(n.tryErr)
}

// startJoin starts the goroutine that keeps the node joined, once.
func (n *Node) startJoin() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.joining || n.closed || len(n.cfg.Join) == 0 && !n.recalls {
		return
	}
	n.joining = true
	n.wg.Go(n.stayJoined)
}

// stayJoined looks every now and then whether there are links, and tries all
// entries when there are few: a few nodes that found each other may be an island.
func (n *Node) stayJoined() {
	wait := retryFirst
	for {
		n.mu.Lock()
		links := n.links
		n.mu.Unlock()
		if links >= fewLinks || links > 0 && len(n.cfg.Join) == 0 {
			wait = retryFirst
		} else if err := n.round(n.ctx, links == 0); err == nil && links > 0 {
			wait = min(max(2*wait, retryFew), retryMost)
		} else if err != nil {
			n.log.Debug("not joined", "err", err)
			n.mu.Lock()
			n.tryErr = err
			close(n.tried)
			n.tried = make(chan struct{})
			n.mu.Unlock()
			wait = min(2*wait, retryMost)
		}
		select {
		case <-time.After(wait):
		case <-n.ctx.Done():
			return
		}
	}
}

// round tries every entry of Config.Join, and remembered nodes, at once. It returns nil as soon as
// one has led to a link; the others go on, since one neighbour is not enough to
// learn what NAT this is, and may go away. Each ends with its own time limit.
func (n *Node) round(ctx context.Context, alone bool) error {
	entries := len(n.cfg.Join)
	errs := make(chan error, entries+1)
	for _, entry := range n.cfg.Join {
		n.wg.Go(func() { errs <- n.joinOne(ctx, entry) })
	}
	if n.recalls && alone {
		entries++
		n.wg.Go(func() { errs <- n.joinRemembered(ctx) })
	}
	var all []error
	for range entries {
		select {
		case err := <-errs:
			if err == nil {
				return nil
			}
			all = append(all, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.Join(all...)
}

// joinRemembered dials remembered nodes that need no punch. With the others the
// overlay keeps appointments meanwhile.
func (n *Node) joinRemembered(ctx context.Context) error {
	_, open, err := n.ov.Remembered(ctx)
	if err != nil {
		return err
	}
	n.mu.Lock()
	first := n.first
	n.mu.Unlock()
	var wg sync.WaitGroup
	for _, a := range open[:min(len(open), maxRemembered)] {
		wg.Go(func() {
			if _, err := n.ov.Dial(ctx, a); err != nil {
				n.log.Debug("remembered node not there", "addr", a, "err", err)
			}
		})
	}
	wg.Wait()
	if len(n.cfg.Join) == 0 {
		wait := time.NewTimer(meetTime)
		defer wait.Stop()
		select {
		case <-first:
		case <-wait.C:
		case <-ctx.Done():
		}
	}
	if n.ov.Linked() {
		return nil
	}
	return fmt.Errorf("%w: the nodes of earlier starts and the LAN", ErrOffline)
}

func (n *Node) joinOne(ctx context.Context, entry string) error {
	if identity.IsTicket(entry) {
		t, err := n.target(entry)
		if err != nil {
			return err
		}
		if t.ID == n.dev.ID() && !n.hasKin() { // else another device may have made it
			return fmt.Errorf("%w: the ticket to join by is this node's", ErrSelf)
		}
		began := time.Now()
		for range n.ov.Reach(ctx, t) {
			return nil
		}
		if err := n.ov.Refused(began); err != nil {
			return fmt.Errorf("p2pos: join by the ticket of %s: %w", t.ID.Short(), memberError(err))
		}
		return fmt.Errorf("%w: %s, by the ticket to join", ErrOffline, t.ID.Short())
	}
	addrs, err := resolve(ctx, entry)
	if err != nil {
		return fmt.Errorf("p2pos: join %q: %w", entry, err)
	}
	for _, a := range addrs {
		if _, err = n.ov.Dial(ctx, a); err == nil {
			return nil
		}
	}
	switch {
	case errors.Is(err, overlay.ErrNetwork):
		return fmt.Errorf("%w: the node at %s", ErrOtherNetwork, entry)
	case errors.Is(err, overlay.ErrMember):
		err = memberError(err)
	case errors.Is(err, overlay.ErrRefused):
		return fmt.Errorf("%w: by the policy of the node at %s, or of this one", ErrDenied, entry)
	case errors.Is(err, overlay.ErrSelf):
		return fmt.Errorf("%w: the node at %s", ErrSelf, entry)
	case errors.Is(err, overlay.ErrUnreachable):
		return fmt.Errorf("%w: %s", ErrOffline, entry)
	}
	return fmt.Errorf("p2pos: join %q: %w", entry, err)
}

// resolve turns host:port into addresses. Numbers need no DNS.
func resolve(ctx context.Context, entry string) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(entry); err == nil {
		return []netip.AddrPort{a}, nil
	}
	host, service, err := net.SplitHostPort(entry)
	if err != nil {
		return nil, fmt.Errorf("neither a ticket nor host:port: %w", err)
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for _, ip := range ips[:min(len(ips), maxResolved)] {
		out = append(out, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return out, nil
}
