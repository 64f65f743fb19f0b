// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// The kernel leaves the last steps of bringing up an interface or an IPv6
// address to workers of its own. On a busy machine they come seconds later, and
// packets are lost until then; so what builds a site waits for them.

// settle bounds that wait; three seconds have been seen.
const settle = 30 * time.Second

// until polls for what the kernel is about to do in n.
func (l *Lab) until(n *netns, what string, done func() (bool, error)) {
	l.t.Helper()
	end := time.Now().Add(settle)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	l.must(n.do(func() error {
		for {
			if ok, err := done(); ok || err != nil {
				return err
			}
			if time.Now().After(end) {
				return fmt.Errorf("natlab: %s is not up after %v", what, settle)
			}
			<-tick.C
		}
	}))
}

// running waits until interfaces carry packets.
func (l *Lab) running(n *netns, devs ...string) {
	l.t.Helper()
	for _, dev := range devs {
		l.until(n, dev, func() (bool, error) {
			i, err := net.InterfaceByName(dev)
			if err != nil {
				return false, fmt.Errorf("natlab: %s: %w", dev, err)
			}
			return i.Flags&net.FlagRunning != 0, nil
		})
	}
}

// owns waits until packets to an IPv6 address are taken for n's own, that is,
// until there is a local route.
func (l *Lab) owns(n *netns, a netip.Addr) {
	l.t.Helper()
	// proc(5): destination and prefix length, source and length, next hop,
	// metric, references, use, flags, interface; all in hexadecimal.
	const flags, local = 8, 0x80
	l.until(n, a.String(), func() (bool, error) {
		table, err := os.ReadFile("/proc/thread-self/net/ipv6_route")
		if err != nil {
			return false, fmt.Errorf("natlab: routes: %w", err)
		}
		for line := range bytes.Lines(table) {
			f := bytes.Fields(line)
			if len(f) <= flags || string(f[0]) != hex.EncodeToString(a.AsSlice()) || string(f[1]) != "80" {
				continue
			}
			if b, err := hex.DecodeString(string(f[flags])); err == nil && len(b) == 4 && b[0]&local != 0 {
				return true, nil
			}
		}
		return false, nil
	})
}

// eager makes an interface ask again soon for a neighbour who isn't ready, and
// for 2 s in all; by itself it asks three times, once a second.
func (l *Lab) eager(n *netns, dev string) {
	l.t.Helper()
	for _, family := range []string{"ipv4", "ipv6"} {
		neigh := family + "/neigh/" + dev
		l.must(n.sysctl(neigh+"/retrans_time_ms", "20", neigh+"/mcast_solicit", "100"))
	}
}
