// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxHints wait for the watcher; more say nothing new.
const maxHints = 64

// listenNetwork returns the kernel's news of links, addresses and routes
// (rtnetlink(7)) until ctx ends or the kernel stops, when the channel is closed.
func listenNetwork(ctx context.Context) (<-chan netNews, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("nat: netlink: %w", err)
	}
	groups := &unix.SockaddrNetlink{
		Family: unix.AF_NETLINK,
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV6_ROUTE,
	}
	if err := unix.Bind(fd, groups); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("nat: netlink: %w", err)
	}
	f := os.NewFile(uintptr(fd), "netlink")
	out := make(chan netNews, maxHints) // dropped when full
	stop := context.AfterFunc(ctx, func() { f.Close() })
	go func() {
		defer close(out)
		defer f.Close()
		defer stop()
		buf := make([]byte, 1<<16)
		for {
			n, err := f.Read(buf)
			switch {
			case errors.Is(err, unix.ENOBUFS): // news were lost; look anyway
				n = 0
			case err != nil:
				return
			}
			for _, h := range readNews(buf[:n]) {
				select {
				case out <- h:
				default:
				}
			}
		}
	}()
	return out, nil
}

// readNews reads messages of the kernel. There is always one hint at least.
func readNews(b []byte) []netNews {
	list := []netNews{{}}
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return list
	}
	for i := range messages {
		m := &messages[i]
		switch m.Header.Type {
		case unix.RTM_DELADDR:
			if len(m.Data) < unix.SizeofIfAddrmsg {
				continue
			}
			// struct rtattr: length, type, value, padded to 4 bytes. The parser of
			// package syscall panics on a last one without its padding.
			for b := m.Data[unix.SizeofIfAddrmsg:]; len(b) >= 4; {
				n, typ := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
				if n < 4 || n > len(b) {
					break
				}
				// On links with a far end IFA_ADDRESS is that one's.
				if typ == unix.IFA_LOCAL || typ == unix.IFA_ADDRESS {
					if ip, ok := netip.AddrFromSlice(b[4:n]); ok {
						list = append(list, netNews{gone: ip.Unmap()})
					}
				}
				b = b[min((n+3)&^3, len(b)):]
			}
		case unix.RTM_DELROUTE:
			// struct rtmsg: family, dst_len, src_len, tos, table, …
			if len(m.Data) >= unix.SizeofRtMsg && m.Data[1] == 0 && m.Data[4] == unix.RT_TABLE_MAIN {
				list = append(list, netNews{route: true})
			}
		}
	}
	return list
}
