// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/huin/goupnp"
)

const (
	// searchLimit bounds a search; devices may take MX = 1 s to answer.
	searchLimit = 1800 * time.Millisecond
	// searchAgain is when the search is sent a second time: it is UDP.
	searchAgain = 600 * time.Millisecond
	// settle is how long others may follow the first usable answer.
	settle = 100 * time.Millisecond
	// maxPlaces is how many descriptions are looked at. A router that offers
	// IGD 1 and 2 names one place twice.
	maxPlaces = 4
)

// search asks the link for internet gateway devices and returns where those
// of the router say their descriptions are.
func (d *igd) search(ctx context.Context) ([]*url.URL, error) {
	ctx, cancel := context.WithTimeout(ctx, searchLimit)
	defer cancel()
	// Bound to our own address, for the interface, but not connected: a device
	// may answer from another port, and an answer to a multicast comes from
	// whichever of its addresses it likes.
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(d.net.internal.Addr(), 0)))
	if err != nil {
		return nil, fmt.Errorf("portmap: socket for the search: %w", err)
	}
	defer conn.Close()
	defer atEnd(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()

	var places []*url.URL
	buf := make([]byte, maxSSDP+1)
	for sent, ignored := 0, 0; ignored < maxIgnored && len(places) < maxPlaces; {
		if sent < 2 {
			d.ask(conn)
			sent++
			conn.SetReadDeadline(time.Now().Add(searchAgain))
		} else if len(places) == 0 {
			conn.SetReadDeadline(time.Now().Add(searchLimit)) // the context ends it
		}
		for ; ignored < maxIgnored && len(places) < maxPlaces; ignored++ {
			if err := ctx.Err(); err != nil {
				if len(places) == 0 {
					return nil, givenUp(err)
				}
				return places, nil
			}
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if isTimeout(err) {
				break
			}
			if err != nil { // an ICMP error on some systems: nothing of ours
				continue
			}
			if !d.net.answers(from.Addr()) {
				d.count.foreign.Add(1)
				continue
			}
			u, err := parseSearchReply(buf[:n])
			switch {
			case n > maxSSDP:
				d.count.oversized.Add(1)
			case err != nil:
				d.count.malformed.Add(1)
			case !d.net.onLAN(u):
				d.count.foreign.Add(1)
			case !slices.ContainsFunc(places, func(o *url.URL) bool { return *o == *u }):
				places = append(places, u)
				conn.SetReadDeadline(time.Now().Add(settle))
			}
		}
		if len(places) > 0 {
			return places, nil
		}
	}
	if len(places) > 0 {
		return places, nil
	}
	return nil, fmt.Errorf("%w: %d packets that are none", ErrUnusable, maxIgnored)
}

// answers says whether a search answer from this address may be the router's.
// IPv6 routers answer from any of their addresses on the link.
func (n network) answers(a netip.Addr) bool {
	if a = a.Unmap(); a.Is4() {
		return a == n.gateway
	}
	return n.near(a)
}

// ask sends the search to everybody and to the router alone: firewalls of
// hosts let in the answer to the latter.
func (d *igd) ask(conn *net.UDPConn) {
	groups := []netip.Addr{netip.AddrFrom4([4]byte{239, 255, 255, 250})}
	if d.net.v6() {
		groups[0] = netip.MustParseAddr("ff02::c").WithZone(d.net.gateway.Zone())
	}
	for _, to := range append(groups, d.net.gateway) {
		dst := netip.AddrPortFrom(to, ssdpPort)
		host := netip.AddrPortFrom(to.WithZone(""), ssdpPort).String()
		for _, target := range searchTargets() {
			conn.WriteToUDPAddrPort(appendSearch(nil, host, target), dst) // lost is lost: there is a second one
		}
	}
}

// describe fetches and reads a device's description.
func (d *igd) describe(ctx context.Context, at *url.URL) (*goupnp.RootDevice, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, late(fmt.Errorf("portmap: description: %w", err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: description has status %d", ErrUnusable, resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, late(fmt.Errorf("portmap: description: %w", err))
	}
	root, err := parseDescription(body, at)
	if err != nil {
		d.count.malformed.Add(1)
	}
	return root, err
}
