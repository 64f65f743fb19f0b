// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/turn/v2"
)

func TestParseTURNURL(t *testing.T) {
	for _, c := range []struct {
		url, at  string
		tcp, tls bool
	}{
		{"turn:turn.example.org", "turn.example.org:3478", false, false},
		{"turn:turn.example.org?transport=udp", "turn.example.org:3478", false, false},
		{"turn:192.0.2.1:80?transport=tcp", "192.0.2.1:80", true, false},
		{"turns:turn.example.org", "turn.example.org:5349", true, true},
		{"turns:turn.example.org:443?transport=tcp", "turn.example.org:443", true, true},
		{"turn:[2001:db8::1]:3479", "[2001:db8::1]:3479", false, false},
		{"turn:[2001:db8::1]", "[2001:db8::1]:3478", false, false},
	} {
		u, err := parseTURNURL(c.url)
		if err != nil || u.String() != c.at || u.tcp != c.tcp || u.tls != c.tls {
			t.Errorf("%s: %+v, %v", c.url, u, err)
		}
	}
	for _, url := range []string{
		"", "turn", "turn:", "turn::3478", "stun:example.org", "turn:a:b", "turn:a:0", "turn:a:70000", "turn:a?transport=sctp",
		"turns:a?transport=udp", "turn:user@a", "turn://a", "turn:a b",
	} {
		if _, err := parseTURNURL(url); err == nil {
			t.Errorf("%q is a TURN URL", url)
		}
	}
}

// stunMessage puts a message together; attributes are type and value.
func stunMessage(typ uint16, attrs ...any) []byte {
	b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(typ)<<16), 0x2112A442)
	b = append(b, "transaction1"...)
	for i := 0; i < len(attrs); i += 2 {
		v := []byte(attrs[i+1].(string))
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, uint16(attrs[i].(int))), uint16(len(v)))
		b = append(b, v...)
		b = append(b, make([]byte, -len(v)&3)...)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-stunHeader))
	return b
}

// evil are the messages that make the library's parser panic when their
// buffer has no spare capacity, which it hasn't (CVE-2026-54909).
func evil() map[string][]byte {
	return map[string][]byte{
		"send indication, empty peer address": stunMessage(0x0016, 0x0013, "data", 0x0012, ""),
		"data indication, empty peer address": stunMessage(0x0017, 0x0013, "data", 0x0012, ""),
		"data indication, family alone":       stunMessage(0x0017, 0x0013, "data", 0x0012, "\x00\x01"),
		"binding answer, empty address":       stunMessage(0x0101, 0x0020, ""),
		"allocate answer, empty address":      stunMessage(0x0103, 0x0016, ""),
	}
}

func TestValidTURN(t *testing.T) {
	for _, c := range []struct {
		b    string
		want bool
	}{
		{"", false}, {"\x40\x00\x00", false},
		{"\x40\x00\x00\x00", true}, {"\x40\x00\x00\x02ab", true}, {"\x40\x00\x00\x02ab\x00\x00", true},
		{"\x40\x00\x00\x02ab\x00\x00\x00\x00", false}, {"\x40\x00\x00\x03ab", false}, {"\x40\x00\xff\xffab", false},
		{"\x80\x00\x00\x00", false}, {"\xc0\x00\x00\x00", false}, {"\x04\x00\x00\x00", false},
		{string(stunMessage(0x0001)), true}, {string(stunMessage(0x0001)) + "x", false},
		{"\x40\x00\x08\x00" + strings.Repeat("x", 2048), false}, // over the bound
	} {
		if got := validTURN([]byte(c.b)); got != c.want {
			t.Errorf("%.8q of %d bytes: %v", c.b, len(c.b), got)
		}
	}
	for name, b := range evil() {
		if validTURN(b) {
			t.Errorf("%s passes", name)
		}
	}
}

// The reason for the filter: without it one packet ends the process. Should
// this fail the library was mended.
func TestTURNLibraryPanics(t *testing.T) {
	wire := &turnWire{}
	client, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: "x", Conn: wire, Net: turnNet{addr: &net.UDPAddr{}}, LoggerFactory: silentTURN()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("it survives a data indication with an empty address")
		}
	}()
	_, _ = client.HandleInbound(evil()["data indication, empty peer address"], &net.UDPAddr{})
}

// fakeTURN is a server's socket that the test answers by hand.
func fakeTURN(t *testing.T) (*net.UDPConn, TURN) {
	t.Helper()
	c := listenLoopback(t)
	return c, TURN{URL: "turn:" + c.LocalAddr().String(), Username: "u", Password: "p"}
}

// A hostile server can't hurt the client.
func TestTURNHostileServer(t *testing.T) {
	server, cfg := fakeTURN(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := DialTURN(ctx, cfg)
		done <- err
	}()
	buf := make([]byte, 2048)
	n, from, err := server.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	var messages [][]byte
	for _, b := range evil() {
		messages = append(messages, b)
	}
	answer := func(attrs ...any) []byte { // to its Allocate, as an error and as a success
		b := stunMessage(0x0113, attrs...)
		copy(b[8:20], buf[8:20])
		return b
	}
	messages = append(messages, buf[:n], []byte("\x40\x00\x00\x01x\x00\x00\x00"), bytes.Repeat([]byte{0xff}, 1500), nil,
		answer(0x0009, "\x00\x00\x04\x01x", 0x0015, strings.Repeat("n", 764)), answer(0x0009, ""), answer(0x0014, "\x00", 0x0016, ""))
	for _, b := range messages {
		if _, err := server.WriteToUDPAddrPort(b, from); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := server.ReadFromUDPAddrPort(buf); err != nil { // it asks again: it lives
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Refusals come out as errors with their code.
func TestTURNRefused(t *testing.T) {
	server, cfg := fakeTURN(t)
	done := make(chan error)
	go func() {
		_, err := DialTURN(t.Context(), cfg)
		done <- err
	}()
	buf := make([]byte, 2048)
	for _, attrs := range [][]any{
		{0x0009, "\x00\x00\x04\x01", 0x0014, "realm", 0x0015, "nonce"},
		{0x0009, "\x00\x00\x05\x08no \x1b[31mroom"},
	} {
		_, from, err := server.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		b := stunMessage(0x0113, attrs...)
		copy(b[8:20], buf[8:20])
		if _, err := server.WriteToUDPAddrPort(b, from); err != nil {
			t.Fatal(err)
		}
	}
	var e *TURNError
	if err := <-done; !errors.As(err, &e) || e.Code != 508 || e.Reason != "no [31mroom" {
		t.Error(err)
	}
}

// Nobody is there: the system says so, and no time is lost.
func TestTURNNobody(t *testing.T) {
	c := listenLoopback(t)
	addr := c.LocalAddr().String()
	c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := DialTURN(ctx, TURN{URL: "turn:" + addr}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := DialTURN(ctx, TURN{URL: "turn:" + addr + "?transport=tcp"}); err == nil {
		t.Error("connected to nobody")
	}
}

// feedTURN gives a stream to the deframer in pieces and returns what it finds.
func feedTURN(stream []byte, n int) (found [][]byte, err error) {
	s := new(turnStream)
	for {
		for {
			b, whole, err := s.next()
			if err != nil {
				return found, err
			}
			if !whole {
				break
			}
			found = append(found, bytes.Clone(b))
		}
		if len(stream) == 0 {
			return found, nil
		}
		k := copy(s.room()[:min(n, len(s.room()))], stream)
		s.filled(k)
		stream = stream[k:]
	}
}

func TestTURNStream(t *testing.T) {
	parts := [][]byte{
		stunMessage(0x0101, 0x8022, "software"), []byte("\x40\x00\x00\x05hello\x00\x00\x00"), []byte("\x40\x01\x00\x00"),
		stunMessage(0x0017, 0x0013, strings.Repeat("d", 1500)), stunMessage(0x0111),
	}
	for _, piece := range []int{1, 3, 4, 1000, 100000} {
		got, err := feedTURN(bytes.Join(parts, nil), piece)
		if err != nil || len(got) != len(parts) || !bytes.Equal(bytes.Join(got, nil), bytes.Join(parts, nil)) {
			t.Errorf("pieces of %d: %d messages, %v", piece, len(got), err)
		}
	}
	for _, bad := range []string{"\x04\x00\x00\x00", "\x80\x00\x00\x00", "\x40\x00\x08\x00", "\x00\x01\xff\xec", "HTTP/1.1 400"} {
		if _, err := feedTURN([]byte(bad), 1); err == nil { // "HT" is a channel number, "TP" a length
			t.Errorf("%q passes", bad)
		}
	}
}

// FuzzTURNStream: in whatever pieces a stream comes, the same messages are
// found, and they are its bytes.
func FuzzTURNStream(f *testing.F) {
	f.Add([]byte("\x40\x00\x00\x05hello\x00\x00\x00\x40"), uint8(2))
	f.Add(append(stunMessage(0x0017, 0x0013, "data"), 0xff, 0, 0, 0), uint8(7))
	f.Add([]byte("\x00\x01\x08\x00"), uint8(200))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		got, err := feedTURN(stream, int(piece)+1)
		all, allErr := feedTURN(stream, maxTURNMessage)
		if len(got) != len(all) || (err == nil) != (allErr == nil) || !bytes.HasPrefix(stream, bytes.Join(got, nil)) {
			t.Fatalf("%d messages, %v; at once %d, %v", len(got), err, len(all), allErr)
		}
	})
}

// FuzzValidTURN: what passes the filter does no harm to the library.
func FuzzValidTURN(f *testing.F) {
	f.Add([]byte("\x40\x00\x00\x05hello\x00\x00\x00"))
	f.Add(stunMessage(0x0017, 0x0013, "data", 0x0012, "\x00\x01\x12\x34\x56\x78\x9a\xbc"))
	f.Add(stunMessage(0x001c, 0x002a, "1234", 0x0012, "\x00\x01\x12\x34\x56\x78\x9a\xbc"))
	f.Add(stunMessage(0x0114, 0x0009, "\x00\x00\x04\x26Stale Nonce", 0x0015, "nonce"))
	for _, b := range evil() {
		f.Add(b)
	}
	at := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:3478"))
	client, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: "x", Conn: &turnWire{}, Net: turnNet{addr: at}, LoggerFactory: silentTURN()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !validTURN(b) {
			return
		}
		exact := append(make([]byte, 0, len(b)), b...)
		if exact[0] < 4 {
			if _, code, reason := turnErrorCode(exact); code < 0 || code > 999 || len(reason) > 80 {
				t.Errorf("code %d, %q", code, reason)
			}
		}
		_, _ = client.HandleInbound(exact, at)
	})
}
