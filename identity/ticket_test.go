// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func aps(n int, format string) []netip.AddrPort {
	var list []netip.AddrPort
	for i := range n {
		list = append(list, ap(fmt.Sprintf(format, i+1)))
	}
	return list
}

// testTicket is the ticket of goldenTicket.
func testTicket(t testing.TB) Ticket {
	d := testDevice(t, now, "desk")
	network := Network{Name: "acme", secret: [32]byte(append(seed(1, 16), make([]byte, 16)...)), size: 16}
	return Ticket{
		ID: d.ID(), Reach: d.Reach(), Network: network.Tag(),
		Expires:     time.Date(2026, 11, 22, 20, 31, 0, 0, time.UTC),
		Addrs:       []netip.AddrPort{ap("192.0.2.7:4433"), ap("[2001:db8::7]:4433")},
		Introducers: []netip.AddrPort{ap("198.51.100.9:7000")},
		Once:        true,
	}
}

func TestTicketGolden(t *testing.T) {
	want := testTicket(t)
	if s, err := want.Text(); err != nil || s != goldenTicket {
		t.Errorf("Text = %s, %v", s, err)
	}
	got, err := ParseTicket(goldenTicket, now)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ParseTicket = %+v, %v; want %+v", got, err, want)
	}
}

// What mailers, phones and QR readers do to a text is undone.
func TestParseTicketForgiving(t *testing.T) {
	want := testTicket(t)
	for _, s := range []string{
		strings.ToUpper(goldenTicket),
		" \n" + goldenTicket + "\r\n",
		goldenTicket[:70] + "\r\n  " + goldenTicket[70:140] + "\n" + goldenTicket[140:],
		goldenTicket[:6] + " " + goldenTicket[6:],
	} {
		if got, err := ParseTicket(s, now); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseTicket(%q) = %+v, %v", s, got, err)
		}
	}
}

// No single wrong character and no cut passes.
func TestParseTicketDamage(t *testing.T) {
	for i := len(ticketPrefix); i < len(goldenTicket); i++ {
		for _, c := range alphabet + "u!é" {
			if byte(c) == goldenTicket[i] {
				continue
			}
			s := goldenTicket[:i] + string(c) + goldenTicket[i+1:]
			if _, err := ParseTicket(s, now); !errors.Is(err, ErrTicketChecksum) {
				t.Fatalf("%q at %d: %v", c, i, err)
			}
		}
		if _, err := ParseTicket(goldenTicket[:i], now); !errors.Is(err, ErrTicketChecksum) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	_, err := ParseTicket("\n"+goldenTicket[:20]+"u"+goldenTicket[21:], now)
	if err == nil || !strings.Contains(err.Error(), "character 22 is 'u'") {
		t.Errorf("position: %v", err)
	}
}

func TestParseTicketNot(t *testing.T) {
	for _, s := range []string{"", "p2pos", "hello", goldenID, "p2posnet:acme:" + encode32(make([]byte, 21)), "x" + goldenTicket,
		goldenTicket + strings.Repeat(" ", 5000)} {
		if _, err := ParseTicket(s, now); !errors.Is(err, ErrNotTicket) {
			t.Errorf("ParseTicket(%.40q): %v", s, err)
		}
	}
	for s, want := range map[string]bool{goldenTicket: true, " P2POS:x": true, "p2pos": false, goldenID: false, "p2posnet:a:b": false} {
		if IsTicket(s) != want {
			t.Errorf("IsTicket(%.40q) is not %v", s, want)
		}
	}
}

func TestParseTicketExpired(t *testing.T) {
	want := testTicket(t)
	if _, err := ParseTicket(goldenTicket, want.Expires.Add(-time.Nanosecond)); err != nil {
		t.Errorf("in its last moment: %v", err)
	}
	got, err := ParseTicket(goldenTicket, want.Expires)
	if !errors.Is(err, ErrTicketExpired) || !strings.Contains(err.Error(), "2026-11-22 20:31 UTC") {
		t.Errorf("expired: %v", err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("expired ticket is not returned: %+v", got)
	}
}

// sealTicket makes the text of any body, with a good checksum.
func sealTicket(body []byte) string {
	sum := ticketChecksum(body)
	return ticketPrefix + encode32(append(body, sum[:]...))
}

// Bodies with a good checksum that break the rules.
func TestParseTicketContent(t *testing.T) {
	id := testDevice(t, now, "").ID()
	addr := func(s string) []byte {
		a := ap(s)
		return wire.AppendVec8(nil, binary.BigEndian.AppendUint16(a.Addr().AsSlice(), a.Port()))
	}
	good := addr("192.0.2.1:1")
	for _, c := range []struct {
		what string
		edit func(m map[uint8][]byte)
		want error
	}{
		{"unchanged", func(map[uint8][]byte) {}, nil},
		{"unknown field", func(m map[uint8][]byte) { m[9] = []byte("later") }, nil},
		{"later flags", func(m map[uint8][]byte) { m[7] = []byte{0xfe} }, nil},
		{"no ID", func(m map[uint8][]byte) { delete(m, 1) }, ErrNotTicket},
		{"no secret", func(m map[uint8][]byte) { delete(m, 2) }, ErrNotTicket},
		{"no network", func(m map[uint8][]byte) { delete(m, 3) }, ErrNotTicket},
		{"no expiry", func(m map[uint8][]byte) { delete(m, 4) }, ErrNotTicket},
		{"zero ID", func(m map[uint8][]byte) { m[1] = make([]byte, 32) }, ErrNotTicket},
		{"long secret", func(m map[uint8][]byte) { m[2] = make([]byte, 17) }, ErrNotTicket},
		{"short expiry", func(m map[uint8][]byte) { m[4] = make([]byte, 3) }, ErrNotTicket},
		{"long flags", func(m map[uint8][]byte) { m[7] = make([]byte, 2) }, ErrNotTicket},
		{"four addresses", func(m map[uint8][]byte) { m[5] = slices.Repeat(good, 4) }, nil},
		{"five addresses", func(m map[uint8][]byte) { m[5] = slices.Repeat(good, 5) }, ErrNotTicket},
		{"four introducers", func(m map[uint8][]byte) { m[6] = slices.Repeat(good, 4) }, ErrNotTicket},
		{"cut address", func(m map[uint8][]byte) { m[5] = good[:5] }, ErrNotTicket},
		{"address of 5 bytes", func(m map[uint8][]byte) { m[5] = wire.AppendVec8(nil, make([]byte, 7)) }, ErrNotTicket},
		{"port 0", func(m map[uint8][]byte) { m[5] = addr("192.0.2.1:0") }, ErrNotTicket},
		{"multicast", func(m map[uint8][]byte) { m[5] = addr("224.0.0.251:5353") }, ErrNotTicket},
		{"broadcast", func(m map[uint8][]byte) { m[6] = addr("255.255.255.255:9") }, ErrNotTicket},
		{"unspecified", func(m map[uint8][]byte) { m[6] = addr("[::]:9") }, ErrNotTicket},
		{"mapped IPv4", func(m map[uint8][]byte) { m[5] = addr("[::ffff:192.0.2.1]:9") }, ErrNotTicket},
		{"too long", func(m map[uint8][]byte) { m[9] = make([]byte, 90) }, ErrNotTicket},
	} {
		m := map[uint8][]byte{1: id[:], 2: make([]byte, 16), 3: make([]byte, 4), 4: {0xff, 0xff, 0xff, 0xff}}
		c.edit(m)
		b := []byte{ticketVersion}
		for tag := range uint8(10) {
			if v, ok := m[tag]; ok {
				b = wire.AppendField(b, tag, v)
			}
		}
		got, err := ParseTicket(sealTicket(b), now)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		if err != nil && !reflect.DeepEqual(got, Ticket{}) {
			t.Errorf("%s: a refused ticket is returned: %+v", c.what, got)
		}
	}
	if _, err := ParseTicket(sealTicket(append([]byte{2}, make([]byte, 300)...)), now); !errors.Is(err, ErrTicketVersion) {
		t.Errorf("version 2: %v", err)
	}
	if _, err := ParseTicket(ticketPrefix, now); !errors.Is(err, ErrTicketChecksum) {
		t.Errorf("nothing behind the prefix: %v", err)
	}
}

func TestTicketTextRefuses(t *testing.T) {
	for what, edit := range map[string]func(*Ticket){
		"zero ID":          func(k *Ticket) { k.ID = ID{} },
		"no expiry":        func(k *Ticket) { k.Expires = time.Time{} },
		"distant expiry":   func(k *Ticket) { k.Expires = time.Unix(60<<32, 0) },
		"five addresses":   func(k *Ticket) { k.Addrs = aps(5, "192.0.2.%d:1") },
		"four introducers": func(k *Ticket) { k.Introducers = aps(4, "192.0.2.%d:1") },
		"too many bytes":   func(k *Ticket) { k.Addrs = aps(4, "[2001:db8::%d]:1") },
		"no address":       func(k *Ticket) { k.Addrs = []netip.AddrPort{{}} },
		"port 0":           func(k *Ticket) { k.Addrs = []netip.AddrPort{ap("192.0.2.1:0")} },
		"link-local IPv6":  func(k *Ticket) { k.Addrs = []netip.AddrPort{ap("[fe80::1]:5")} },
		"zone":             func(k *Ticket) { k.Introducers = []netip.AddrPort{ap("[fd00::1%eth0]:5")} },
	} {
		k := testTicket(t)
		edit(&k)
		if s, err := k.Text(); err == nil {
			t.Errorf("%s: %s", what, s)
		}
	}
}

// The expiry is rounded up, so a ticket holds at least as long as asked.
func TestTicketMinutes(t *testing.T) {
	for _, c := range []struct{ in, want time.Duration }{{0, 0}, {time.Second, time.Minute}, {59 * time.Second, time.Minute}, {time.Minute, time.Minute}} {
		k := testTicket(t)
		base := k.Expires
		k.Expires = base.Add(c.in)
		s, err := k.Text()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseTicket(s, now); err != nil || got.Expires.Sub(base) != c.want {
			t.Errorf("%v: %v, %v", c.in, got.Expires, err)
		}
	}
}

func TestTicketFit(t *testing.T) {
	k := testTicket(t)
	k.Addrs = append([]netip.AddrPort{ap("[fe80::1]:5"), ap("[::ffff:192.0.2.9]:7")}, aps(6, "[2001:db8::%d]:1")...)
	k.Introducers = append(aps(6, "[2001:db8:9::%d]:1"), ap("198.51.100.1:1"))
	f := k.Fit()
	s, err := f.Text()
	if err != nil {
		t.Fatal(err)
	}
	if len(s) > 262 {
		t.Errorf("%d characters", len(s))
	}
	want := []netip.AddrPort{ap("192.0.2.9:7"), ap("[2001:db8::1]:1")}
	intros := []netip.AddrPort{k.Introducers[0], k.Introducers[1], k.Introducers[6]} // the short one still fits
	if !slices.Equal(f.Addrs, want) || !slices.Equal(f.Introducers, intros) {
		t.Errorf("kept %v and %v", f.Addrs, f.Introducers)
	}
	if len(k.Addrs) != 8 || len(k.Introducers) != 7 {
		t.Error("Fit changed its receiver's lists")
	}
	// The usual full house of IPv4 fits as it is.
	k.Addrs, k.Introducers = aps(4, "192.0.2.%d:1"), aps(3, "198.51.100.%d:1")
	if f := k.Fit(); !slices.Equal(f.Addrs, k.Addrs) || !slices.Equal(f.Introducers, k.Introducers) {
		t.Errorf("dropped from %v and %v: %v and %v", k.Addrs, k.Introducers, f.Addrs, f.Introducers)
	}
	if _, err := k.Text(); err != nil {
		t.Error(err)
	}
}
