// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package portmap

import (
	"net"
	"net/netip"
	"strconv"
	"syscall"

	xroute "golang.org/x/net/route"
)

// defaultRoutes reads the kernel's table by sysctl.
func defaultRoutes(v6 bool) ([]route, error) {
	family := syscall.AF_INET
	if v6 {
		family = syscall.AF_INET6
	}
	dump, err := xroute.FetchRIB(family, xroute.RIBTypeRoute, 0)
	if err != nil {
		return nil, err
	}
	messages, err := xroute.ParseRIB(xroute.RIBTypeRoute, dump)
	if err != nil {
		return nil, err
	}
	var list []route
	for _, m := range messages {
		r, ok := m.(*xroute.RouteMessage)
		if !ok || r.Flags&syscall.RTF_UP == 0 || r.Flags&syscall.RTF_GATEWAY == 0 || len(r.Addrs) <= syscall.RTAX_NETMASK {
			continue
		}
		dst, mask := address(r.Addrs[syscall.RTAX_DST], 0), address(r.Addrs[syscall.RTAX_NETMASK], 0)
		if dst.IsValid() && !dst.IsUnspecified() || mask.IsValid() && !mask.IsUnspecified() {
			continue
		}
		if via := address(r.Addrs[syscall.RTAX_GATEWAY], r.Index); via.IsValid() {
			// The table is in the kernel's order of preference.
			list = append(list, route{gateway: via, iface: r.Index, metric: uint32(len(list))})
		}
	}
	return list, nil
}

func address(a xroute.Addr, iface int) netip.Addr {
	switch a := a.(type) {
	case *xroute.Inet4Addr:
		return netip.AddrFrom4(a.IP)
	case *xroute.Inet6Addr:
		ip := netip.AddrFrom16(a.IP)
		if !ip.IsLinkLocalUnicast() {
			return ip
		}
		if a.ZoneID != 0 {
			iface = a.ZoneID
		}
		if i, err := net.InterfaceByIndex(iface); err == nil {
			return ip.WithZone(i.Name)
		}
		return ip.WithZone(strconv.Itoa(iface))
	}
	return netip.Addr{}
}
