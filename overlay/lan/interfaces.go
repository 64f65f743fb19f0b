// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"fmt"
	"net"
	"net/netip"
)

// interfaces lists those of this computer that have a LAN behind them.
func interfaces(filter func(net.Interface) bool) (system map[int]net.Interface, list []view, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, nil, fmt.Errorf("lan: listing interfaces: %w", err)
	}
	system = make(map[int]net.Interface)
	for _, i := range all {
		const need, never = net.FlagUp | net.FlagMulticast, net.FlagLoopback | net.FlagPointToPoint
		if i.Flags&need != need || i.Flags&never != 0 || filter != nil && !filter(i) || len(list) == maxLinks {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away between the two calls
		}
		v := view{index: i.Index, name: i.Name}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				v.prefixes = append(v.prefixes, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()))
			}
		}
		system[i.Index] = i
		list = append(list, v)
	}
	return system, list, nil
}
