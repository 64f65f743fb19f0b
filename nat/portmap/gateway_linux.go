// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// defaultRoutes asks the kernel by netlink. Android refuses that to programs.
func defaultRoutes(v6 bool) ([]route, error) {
	family := syscall.AF_INET
	if v6 {
		family = syscall.AF_INET6
	}
	dump, err := syscall.NetlinkRIB(syscall.RTM_GETROUTE, family)
	if err != nil {
		return nil, err
	}
	messages, err := syscall.ParseNetlinkMessage(dump)
	if err != nil {
		return nil, err
	}
	var list []route
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != syscall.RTM_NEWROUTE || len(m.Data) < syscall.SizeofRtMsg {
			continue
		}
		// struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags(4)
		if m.Data[1] != 0 || m.Data[4] != syscall.RT_TABLE_MAIN || m.Data[7] != syscall.RTN_UNICAST {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			continue
		}
		if r, ok := readRoute(attrs); ok {
			list = append(list, r)
		}
	}
	return list, nil
}

func readRoute(attrs []syscall.NetlinkRouteAttr) (r route, ok bool) {
	var via netip.Addr
	for _, a := range attrs {
		switch a.Attr.Type {
		case syscall.RTA_GATEWAY:
			via, _ = netip.AddrFromSlice(a.Value)
		case syscall.RTA_OIF:
			if len(a.Value) >= 4 {
				r.iface = int(binary.NativeEndian.Uint32(a.Value))
			}
		case syscall.RTA_PRIORITY:
			if len(a.Value) >= 4 {
				r.metric = binary.NativeEndian.Uint32(a.Value)
			}
		case syscall.RTA_MULTIPATH:
			// struct rtnexthop: len(2) flags(1) hops(1) ifindex(4), attributes. Of
			// several routers of equal rank the first will do.
			if len(a.Value) >= 8+4 {
				r.iface = int(binary.NativeEndian.Uint32(a.Value[4:]))
				n := int(binary.NativeEndian.Uint16(a.Value[8:]))
				if binary.NativeEndian.Uint16(a.Value[10:]) == syscall.RTA_GATEWAY && n >= 4 && 8+n <= len(a.Value) {
					via, _ = netip.AddrFromSlice(a.Value[12 : 8+n])
				}
			}
		}
	}
	r.gateway = withZone(via, r.iface)
	return r, via.IsValid()
}

// withZone names the interface that a link-local address is on.
func withZone(a netip.Addr, iface int) netip.Addr {
	if !a.Is6() || !a.IsLinkLocalUnicast() {
		return a
	}
	if i, err := net.InterfaceByIndex(iface); err == nil {
		return a.WithZone(i.Name)
	}
	return a.WithZone(strconv.Itoa(iface))
}
