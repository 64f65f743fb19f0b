// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// SSDP, UPnP Device Architecture 1.1 §1.3: a search is one datagram that looks
// like HTTP, so is each answer; LOCATION is the address of the description.
const (
	ssdpPort  = 1900
	maxSSDP   = 2048 // an answer has some 500 bytes
	maxHeader = 32   // fields in it; usual are ten
)

// searchTargets are what routers answer to: some know only one of the two.
func searchTargets() []string {
	return []string{
		"urn:schemas-upnp-org:device:InternetGatewayDevice:2",
		"urn:schemas-upnp-org:device:InternetGatewayDevice:1",
	}
}

// appendSearch appends an M-SEARCH. Devices answer within MX seconds.
func appendSearch(b []byte, host, target string) []byte {
	return fmt.Appendf(b, "M-SEARCH * HTTP/1.1\r\nHOST: %s\r\nST: %s\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\r\n", host, target)
}

// parseSearchReply returns where the device's description is.
func parseSearchReply(b []byte) (*url.URL, error) {
	if len(b) > maxSSDP || bytes.Count(b, []byte("\n")) > maxHeader {
		return nil, fmt.Errorf("%w: SSDP answer too long", ErrUnusable)
	}
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(b)))
	line, err := r.ReadLine()
	if err != nil || !strings.HasPrefix(line, "HTTP/1.") || len(line) < 12 || line[8:12] != " 200" {
		return nil, fmt.Errorf("%w: not an SSDP answer", ErrUnusable)
	}
	// Many routers forget the empty line at the end.
	h, err := r.ReadMIMEHeader()
	if err != nil && len(h) == 0 {
		return nil, fmt.Errorf("%w: SSDP header", ErrUnusable)
	}
	st := h.Get("St")
	if !slices.Contains(searchTargets(), st) && st != "upnp:rootdevice" {
		return nil, fmt.Errorf("%w: SSDP answer for another target", ErrUnusable)
	}
	u, err := url.Parse(h.Get("Location"))
	if err != nil || u.Host == "" || u.Scheme != "http" || u.User != nil {
		return nil, fmt.Errorf("%w: SSDP location", ErrUnusable)
	}
	return u, nil
}

// onLAN says whether a URL's host is an address and one that can be the
// router's, which may have several inside. It is only a test of sanity: what
// is spoken to is the router's known address in any case.
func (n network) onLAN(u *url.URL) bool {
	if u.Scheme != "http" || u.User != nil {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return false // a name: never resolved
	}
	return n.near(a)
}

// near says whether an address is the router's or may be on our link.
func (n network) near(a netip.Addr) bool {
	a = a.Unmap()
	if a.WithZone("") == n.gateway.WithZone("") {
		return true
	}
	if a.Is4() != n.internal.Addr().Is4() {
		return false
	}
	if a.Is4() {
		return a.IsPrivate() || a.IsLinkLocalUnicast()
	}
	link, err := n.internal.Addr().Prefix(64)
	return a.IsLinkLocalUnicast() || err == nil && link.Contains(a.WithZone(""))
}
