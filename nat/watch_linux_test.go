// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"context"
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

// news builds one netlink message: the body and an attribute.
func news(typ uint16, body []byte, attr uint16, value []byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	a = append(binary.NativeEndian.AppendUint16(a, attr), value...)
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)+len(a)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, make([]byte, unix.SizeofNlMsghdr-len(b))...)
	return append(append(b, body...), a...)
}

func TestReadNews(t *testing.T) {
	addr := []byte{unix.AF_INET, 24, 0, 0, 1, 0, 0, 0} // struct ifaddrmsg
	route := func(bits, table byte) []byte {
		return append([]byte{unix.AF_INET, bits, 0, 0, table}, make([]byte, unix.SizeofRtMsg-5)...)
	}
	ip := []byte{192, 168, 1, 7}
	for name, c := range map[string]struct {
		b    []byte
		want []netNews
	}{
		"nothing":              {nil, nil},
		"half a message":       {news(unix.RTM_DELADDR, addr, unix.IFA_LOCAL, ip)[:20], nil},
		"an address comes":     {news(unix.RTM_NEWADDR, addr, unix.IFA_LOCAL, ip), nil},
		"an address goes":      {news(unix.RTM_DELADDR, addr, unix.IFA_LOCAL, ip), []netNews{{gone: netip.AddrFrom4([4]byte(ip))}}},
		"the default route":    {news(unix.RTM_DELROUTE, route(0, unix.RT_TABLE_MAIN), unix.RTA_GATEWAY, ip), []netNews{{route: true}}},
		"another table's":      {news(unix.RTM_DELROUTE, route(0, 100), unix.RTA_GATEWAY, ip), nil},
		"another route":        {news(unix.RTM_DELROUTE, route(24, unix.RT_TABLE_MAIN), unix.RTA_GATEWAY, ip), nil},
		"a comes and a goes":   {append(news(unix.RTM_NEWADDR, addr, unix.IFA_LOCAL, ip), news(unix.RTM_DELADDR, addr, unix.IFA_LOCAL, ip)...), []netNews{{gone: netip.AddrFrom4([4]byte(ip))}}},
		"an address of 3 bits": {news(unix.RTM_DELADDR, addr, unix.IFA_LOCAL, ip[:3]), nil},
	} {
		if got := readNews(c.b); !reflect.DeepEqual(got, append([]netNews{{}}, c.want...)) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzReadNews(f *testing.F) {
	f.Add(news(unix.RTM_DELADDR, []byte{2, 24, 0, 0, 1, 0, 0, 0}, unix.IFA_LOCAL, []byte{1, 2, 3, 4}))
	f.Add(news(unix.RTM_DELROUTE, make([]byte, unix.SizeofRtMsg), unix.RTA_GATEWAY, []byte{1, 2, 3, 4}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(readNews(b)) == 0 {
			t.Error("no hint at all")
		}
	})
}

// The same address in another network is a change; a container's coming and
// going isn't.
func TestHintConcerns(t *testing.T) {
	v := situation{addrs: []netip.Addr{netip.MustParseAddr("192.168.1.7")}}
	for h, want := range map[netNews]bool{
		{}:            false,
		{route: true}: true,
		{gone: netip.MustParseAddr("192.168.1.7")}: true,
		{gone: netip.MustParseAddr("172.17.0.1")}:  false,
	} {
		if got := h.concerns(v); got != want {
			t.Errorf("%+v: %v", h, got)
		}
	}
}

// Watch ends with its context and leaves nothing behind.
func TestWatchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, func() {})
	}()
	cancel()
	<-done
}
