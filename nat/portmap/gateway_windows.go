// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/windows"
)

// defaultRoutes asks the IP helper library.
func defaultRoutes(v6 bool) ([]route, error) {
	family := uint16(windows.AF_INET)
	if v6 {
		family = windows.AF_INET6
	}
	var table *windows.MibIpForwardTable2
	if err := windows.GetIpForwardTable2(family, &table); err != nil {
		return nil, err
	}
	defer windows.FreeMibTable(unsafe.Pointer(table))
	var list []route
	for _, row := range table.Rows() {
		if row.DestinationPrefix.PrefixLength != 0 {
			continue
		}
		via := address(&row.NextHop)
		if !via.IsValid() || via.IsUnspecified() {
			continue
		}
		if via.Is6() && via.IsLinkLocalUnicast() {
			zone := strconv.FormatUint(uint64(row.InterfaceIndex), 10)
			if i, err := net.InterfaceByIndex(int(row.InterfaceIndex)); err == nil {
				zone = i.Name
			}
			via = via.WithZone(zone)
		}
		list = append(list, route{gateway: via, iface: int(row.InterfaceIndex), metric: row.Metric})
	}
	return list, nil
}

// address reads a SOCKADDR_INET, a union of the two families' addresses.
func address(sa *windows.RawSockaddrInet) netip.Addr {
	switch sa.Family {
	case windows.AF_INET:
		return netip.AddrFrom4((*windows.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr)
	case windows.AF_INET6:
		return netip.AddrFrom16((*windows.RawSockaddrInet6)(unsafe.Pointer(sa)).Addr)
	}
	return netip.Addr{}
}
