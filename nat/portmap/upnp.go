// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway2"
	"github.com/huin/goupnp/soap"
)

// Error codes of UPnP WANIPConnection:2 §2.6 and WANIPv6FirewallControl:1 §2.6.
const (
	upnpInvalidAction    = 401
	upnpNotImplemented   = 602
	upnpNoSuchPinhole    = 704
	upnpNoSuchEntry      = 714
	upnpConflict         = 718
	upnpOnlyPermanent    = 725
	upnpConflictExternal = 729
)

const (
	description = "p2pos" // shown in the router's table
	// maxServices bounds the connections of one router that are tried: real
	// ones list a WANIP and a WANPPP one, of which one is online.
	maxServices = 4
	// maxPorts bounds the ports tried on an IGD 1 router, which can't choose.
	maxPorts = 4
	maxText  = 64 // bytes of a router's own words that are kept
)

// wan is what a WANIPConnection 1 or 2 and a WANPPPConnection have in common.
type wan interface {
	AddPortMappingCtx(ctx context.Context, remote string, external uint16, protocol string, internal uint16, client string, enabled bool, description string, lease uint32) error
	DeletePortMappingCtx(ctx context.Context, remote string, external uint16, protocol string) error
	GetExternalIPAddressCtx(ctx context.Context) (string, error)
	GetSpecificPortMappingEntryCtx(ctx context.Context, remote string, external uint16, protocol string) (internal uint16, client string, enabled bool, description string, lease uint32, err error)
}

// chooser is a wan that finds a free port by itself: IGD 2.
type chooser interface {
	AddAnyPortMappingCtx(ctx context.Context, remote string, external uint16, protocol string, internal uint16, client string, enabled bool, description string, lease uint32) (uint16, error)
}

// igd is a router as UPnP shows it, found at the first errand and again after
// one failed for want of an answer.
type igd struct {
	net   network
	count *counters
	http  *http.Client

	wans      []wan
	firewalls []*internetgateway2.WANIPv6FirewallControl1

	// What the router may hold of ours.
	used    wan
	port    uint16
	unsure  bool // the answer never came: look whose it is before withdrawing
	wall    *internetgateway2.WANIPv6FirewallControl1
	pinhole uint16
}

func newIGD(n network, count *counters) igd {
	return igd{net: n, count: count, http: newHTTP(n, count)}
}

func (d *igd) do(ctx context.Context, t task) (g grant, err error) {
	if t.verb == verbDrop {
		return grant{}, d.drop(ctx)
	}
	if len(d.wans) == 0 && len(d.firewalls) == 0 {
		if err := d.find(ctx); err != nil {
			return grant{}, err
		}
	}
	lease := uint32(t.lifetime / time.Second)
	switch {
	case t.verb == verbCheck && d.net.v6():
		// There is nothing cheaper than renewing.
		err = d.renew(ctx, lease)
	case t.verb == verbCheck:
		g, err = d.check(ctx)
	case d.net.v6():
		g, err = d.punch(ctx, lease)
	default:
		g, err = d.mapAny(ctx, t.external, lease)
	}
	var refused *RefusedError
	if err != nil && !errors.As(err, &refused) && !errors.Is(err, errGone) {
		d.wans, d.firewalls = nil, nil // look for the router anew
	}
	return g, err
}

// find searches and describes until one place has a service for our family.
func (d *igd) find(ctx context.Context) error {
	places, err := d.search(ctx)
	if err != nil {
		return err
	}
	for _, at := range places {
		root, why := d.describe(ctx, at)
		if why != nil {
			err = why
			continue
		}
		if d.take(root, at); len(d.wans) > 0 || len(d.firewalls) > 0 {
			return nil
		}
		err = fmt.Errorf("%w: no service of use in the description", ErrUnusable)
	}
	return err
}

// take keeps the services of a description that serve our family and whose
// control URLs the router may have.
func (d *igd) take(root *goupnp.RootDevice, at *url.URL) {
	tame := func(c goupnp.ServiceClient) bool {
		if !c.Service.ControlURL.Ok || !d.net.onLAN(&c.SOAPClient.EndpointURL) {
			d.count.foreign.Add(1)
			return false
		}
		c.SOAPClient.HTTPClient = *d.http
		return true
	}
	// A service that isn't there is the only error these return.
	if d.net.v6() {
		all, _ := internetgateway2.NewWANIPv6FirewallControl1ClientsFromRootDevice(root, at)
		for _, c := range all[:min(len(all), maxServices)] {
			if tame(c.ServiceClient) {
				d.firewalls = append(d.firewalls, c)
			}
		}
		return
	}
	v2, _ := internetgateway2.NewWANIPConnection2ClientsFromRootDevice(root, at)
	for _, c := range v2[:min(len(v2), maxServices)] {
		if tame(c.ServiceClient) {
			d.wans = append(d.wans, c)
		}
	}
	v1, _ := internetgateway2.NewWANIPConnection1ClientsFromRootDevice(root, at)
	for _, c := range v1[:min(len(v1), maxServices)] {
		if tame(c.ServiceClient) {
			d.wans = append(d.wans, c)
		}
	}
	ppp, _ := internetgateway2.NewWANPPPConnection1ClientsFromRootDevice(root, at)
	for _, c := range ppp[:min(len(ppp), maxServices)] {
		if tame(c.ServiceClient) {
			d.wans = append(d.wans, c)
		}
	}
	d.wans = d.wans[:min(len(d.wans), maxServices)]
}

// mapAny makes or renews a mapping on the first connection that is online.
func (d *igd) mapAny(ctx context.Context, wish netip.AddrPort, lease uint32) (g grant, err error) {
	for _, w := range d.wans {
		var outside netip.Addr
		if outside, err = d.outside(ctx, w); err != nil {
			continue
		}
		g.outside = outside
		if err = usable(d.net, outside); err != nil { // this connection is not online
			continue
		}
		port, seconds := uint16(0), lease
		if port, err = d.mapOn(ctx, w, wish.Port(), seconds); code(err) == upnpOnlyPermanent {
			port, err = d.mapOn(ctx, w, wish.Port(), 0)
		}
		if err == nil {
			d.used, d.port, d.unsure = w, port, false
			g.external = netip.AddrPortFrom(outside, port)
			g.lifetime = time.Duration(lease) * time.Second // a permanent one is renewed like any
			return g, nil
		}
	}
	return g, err
}

func (d *igd) outside(ctx context.Context, w wan) (netip.Addr, error) {
	text, err := w.GetExternalIPAddressCtx(ctx)
	if err != nil {
		return netip.Addr{}, d.fault(err)
	}
	if text = strings.TrimSpace(text); text == "" { // some routers say so when they have none
		return netip.IPv4Unspecified(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		d.count.malformed.Add(1)
		return netip.Addr{}, fmt.Errorf("%w: %q", errBadExternal, clip(text))
	}
	return a, nil
}

// mapOn asks for the wished port, then for any.
func (d *igd) mapOn(ctx context.Context, w wan, wish uint16, lease uint32) (uint16, error) {
	inside := d.net.internal.Port()
	client := d.net.internal.Addr().String()
	outcome := func(port uint16, err error) error {
		if err = d.fault(err); err != nil && code(err) == 0 {
			d.used, d.port, d.unsure = w, port, true
		}
		return err
	}
	add := func(port uint16) error {
		return outcome(port, w.AddPortMappingCtx(ctx, "", port, "UDP", inside, client, true, description, lease))
	}
	if wish != 0 && wish == d.port { // ours: the same request renews it
		err := add(wish)
		if c := code(err); c != upnpConflict && c != upnpConflictExternal {
			return wish, err
		}
	}
	if wish == 0 {
		wish = inside
	}
	if any, ok := w.(chooser); ok {
		port, err := any.AddAnyPortMappingCtx(ctx, "", wish, "UDP", inside, client, true, description, lease)
		err = outcome(wish, err)
		if c := code(err); c != upnpInvalidAction && c != upnpNotImplemented {
			return port, err
		}
	}
	var err error
	for range maxPorts {
		// Some routers overwrite a neighbour's mapping without a word.
		_, owner, _, _, _, asked := w.GetSpecificPortMappingEntryCtx(ctx, "", wish, "UDP")
		if asked == nil && owner != "" && owner != client {
			err = &RefusedError{UPnP, upnpConflict, "port in use"}
		} else if err = add(wish); code(err) != upnpConflict {
			return wish, err
		}
		wish = uint16(1024 + rand.IntN(1<<16-1024))
	}
	return 0, err
}

// check asks whether the mapping is still ours, and for the outside address.
func (d *igd) check(ctx context.Context) (grant, error) {
	if d.used == nil {
		return grant{}, errGone
	}
	if err := d.ours(ctx); err != nil {
		return grant{}, err
	}
	outside, err := d.outside(ctx, d.used)
	return grant{outside: outside}, err
}

// ours asks whether the entry we use is for us; errGone says that it isn't.
// Routers that can't tell refuse with other codes and are believed.
func (d *igd) ours(ctx context.Context) error {
	inside, client, _, _, _, err := d.used.GetSpecificPortMappingEntryCtx(ctx, "", d.port, "UDP")
	err = d.fault(err)
	switch {
	case code(err) == upnpNoSuchEntry:
		return errGone
	case err == nil && (client != d.net.internal.Addr().String() || inside != d.net.internal.Port()):
		return errGone
	case code(err) != 0:
		return nil
	}
	return err
}

// punch makes or renews a pinhole in an IPv6 firewall.
func (d *igd) punch(ctx context.Context, lease uint32) (grant, error) {
	g := grant{external: d.net.internal, lifetime: time.Duration(lease) * time.Second}
	if d.wall != nil {
		err := d.renew(ctx, lease)
		if err == nil || !errors.Is(err, errGone) {
			return g, err
		}
	}
	var err error
	for _, f := range d.firewalls {
		var id uint16
		id, err = f.AddPinholeCtx(ctx, "", 0, d.net.internal.Addr().WithZone("").String(), d.net.internal.Port(), protoUDP, lease)
		if err = d.fault(err); err == nil {
			d.wall, d.pinhole = f, id
			return g, nil
		}
	}
	return g, err
}

func (d *igd) renew(ctx context.Context, lease uint32) error {
	if d.wall == nil {
		return errGone
	}
	err := d.fault(d.wall.UpdatePinholeCtx(ctx, d.pinhole, lease))
	if code(err) == upnpNoSuchPinhole {
		d.wall = nil
		return errGone
	}
	return err
}

func (d *igd) drop(ctx context.Context) (err error) {
	if w := d.used; w != nil {
		if d.unsure {
			err = d.ours(ctx)
		}
		if err == nil {
			err = d.fault(w.DeletePortMappingCtx(ctx, "", d.port, "UDP"))
		}
		d.used, d.port, d.unsure = nil, 0, false
	}
	if f := d.wall; f != nil {
		err = d.fault(f.DeletePinholeCtx(ctx, d.pinhole))
		d.wall = nil
	}
	return err
}

// fault sorts the errors of an action.
func (d *igd) fault(err error) error {
	var f *soap.SOAPFaultError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return &RefusedError{UPnP, f.Detail.UPnPError.Errorcode, clip(f.Detail.UPnPError.ErrorDescription)}
	default:
		return late(fmt.Errorf("portmap: UPnP action: %w", err))
	}
}

// late makes a timeout recognizable as silence. The library passes on only the
// text of what happened to a request.
func late(err error) error {
	if isTimeout(err) || strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return err
}

// code returns the code of a refusal, 0 of anything else.
func code(err error) int {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return 0
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxText)], "") }
