// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var (
	testTag  = [4]byte{1, 2, 3, 4}
	testSelf = newSelf("abc", 4000, testTag)
	ip       = netip.MustParseAddr
)

// What is announced, byte for byte.
func TestAnswerGolden(t *testing.T) {
	got, err := testSelf.answer(response{ttl: ttl}, []netip.Addr{ip("10.0.0.2"), ip("fe80::2")})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := hex.DecodeString(strings.Join(strings.Fields(`
		0000 8400 0000 0005 0000 0000
		06 5f7032706f73 04 5f756470 05 6c6f63616c 00 000c 0001 00000078 0006 03 616263 c00c
		c029 0021 8001 00000078 0011 0000 0000 0fa0 03 616263 05 6c6f63616c 00
		c029 0010 8001 00000078 0011 03 763d31 0c 6e65743d3031303230333034
		03 616263 c018 0001 8001 00000078 0004 0a000002
		c069 001c 8001 00000078 0010 fe800000000000000000000000000002`), ""))
	if !bytes.Equal(got, want) {
		t.Errorf("packed as\n%x, not\n%x", got, want)
	}
}

func TestAnswerParsed(t *testing.T) {
	addrs := []netip.Addr{ip("10.0.0.2"), ip("fe80::2"), ip("fd00::2")}
	b, err := testSelf.answer(response{ttl: ttl, enumerate: true}, addrs)
	if err != nil {
		t.Fatal(err)
	}
	m, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	want := message{response: true, offers: []offer{{
		instance: "abc._p2pos._udp.local.", ttl: ttl, port: 4000, txt: []string{"v=1", "net=01020304"}, addrs: addrs,
	}}}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("read as %+v", m)
	}
	b, err = testSelf.answer(response{}, addrs)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = parse(b); err != nil || len(m.offers) != 2 || m.offers[0].ttl != 0 || m.offers[1].instance != want.offers[0].instance {
		t.Errorf("goodbye read as %+v, %v", m, err)
	}
}

func TestQuestionParsed(t *testing.T) {
	b, err := testSelf.question([]string{"other._p2pos._udp.local."})
	if err != nil {
		t.Fatal(err)
	}
	m, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"abc._p2pos._udp.local.", "other._p2pos._udp.local."}; !slices.Equal(m.known, want) {
		t.Errorf("known answers %q", m.known)
	}
	if len(m.questions) != 1 || m.questions[0].Name.String() != service || m.questions[0].Type != dnsmessage.TypePTR {
		t.Errorf("asked %v", m.questions)
	}
}

// A message with everybody who is known stays within one Ethernet frame.
func TestQuestionFits(t *testing.T) {
	var known []string
	for i := range maxKnown {
		known = append(known, hex.EncodeToString(bytes.Repeat([]byte{byte(i)}, instanceBytes))+"."+service)
	}
	b, err := testSelf.question(known)
	if err != nil || len(b) > 1200 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// header and record build what no node of ours sends.
func header(response bool, opcode dnsmessage.OpCode, rcode dnsmessage.RCode) dnsmessage.Header {
	return dnsmessage.Header{Response: response, OpCode: opcode, RCode: rcode}
}

func record(name string, seconds uint32, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: seconds}, Body: body,
	}
}

func pack(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseRefuses(t *testing.T) {
	good, _ := testSelf.answer(response{ttl: ttl}, []netip.Addr{ip("10.0.0.2")})
	many := dnsmessage.Message{Header: header(true, 0, 0)}
	for range maxRecords + 1 {
		many.Answers = append(many.Answers, record("x.local.", 1, &dnsmessage.AResource{}))
	}
	asking := dnsmessage.Message{}
	for range maxQuestions + 1 {
		asking.Questions = append(asking.Questions, dnsmessage.Question{Name: dnsmessage.MustNewName(service), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET})
	}
	for why, b := range map[string][]byte{
		"nothing":             nil,
		"half a header":       good[:7],
		"cut in a record":     good[:len(good)-1],
		"another opcode":      pack(t, dnsmessage.Message{Header: header(true, 4, 0)}),
		"an error":            pack(t, dnsmessage.Message{Header: header(true, 0, 3)}),
		"too many records":    pack(t, many),
		"too many questions":  pack(t, asking),
		"a name that returns": append(append([]byte{}, good[:12]...), 0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 1, 0, 0),
	} {
		if m, err := parse(b); err == nil {
			t.Errorf("%s: taken as %+v", why, m)
		}
	}
	many.Answers = many.Answers[1:]
	if _, err := parse(pack(t, many)); err != nil {
		t.Errorf("%d records: %v", maxRecords, err)
	}
}

// Other services' records, classes and types are passed over, and records in
// the additional section count.
func TestParseOthers(t *testing.T) {
	body := dnsmessage.Message{Header: header(true, 0, 0), Answers: []dnsmessage.Resource{
		record("_ipp._tcp.local.", 120, &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName("printer._ipp._tcp.local.")}),
		record("printer._ipp._tcp.local.", 120, &dnsmessage.SRVResource{Port: 631, Target: dnsmessage.MustNewName("printer.local.")}),
		record("printer.local.", 120, &dnsmessage.AResource{A: [4]byte{10, 0, 0, 9}}),
		record("x.local.", 120, &dnsmessage.UnknownResource{Type: 47, Data: []byte{1, 2, 3}}), // NSEC
	}, Authorities: []dnsmessage.Resource{
		record("b._p2pos._udp.local.", 120, &dnsmessage.SRVResource{Port: 1, Target: dnsmessage.MustNewName("b.local.")}),
	}, Additionals: []dnsmessage.Resource{
		record("A._P2POS._udp.LOCAL.", 120, &dnsmessage.SRVResource{Port: 7, Target: dnsmessage.MustNewName("Printer.local.")}),
	}}
	other := record("c._p2pos._udp.local.", 120, &dnsmessage.SRVResource{Port: 1, Target: dnsmessage.MustNewName("b.local.")})
	other.Header.Class = dnsmessage.ClassCHAOS
	body.Additionals = append(body.Additionals, other)
	m, err := parse(pack(t, body))
	if err != nil {
		t.Fatal(err)
	}
	want := []offer{{instance: "a._p2pos._udp.local.", ttl: 2 * time.Minute, port: 7, addrs: []netip.Addr{ip("10.0.0.9")}}}
	if !reflect.DeepEqual(m.offers, want) {
		t.Errorf("offers %+v", m.offers)
	}
}

func TestInstanceNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a._p2pos._udp.local.": true, "_p2pos._udp.local.": false, "._p2pos._udp.local.": false,
		"a.b._p2pos._udp.local.": false, "a_p2pos._udp.local.": false, "a._p2pos._tcp.local.": false,
	} {
		if isInstance(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func FuzzParse(f *testing.F) {
	addrs := []netip.Addr{ip("10.0.0.2"), ip("fe80::2")}
	for _, r := range []response{{ttl: ttl}, {}, {ttl: ttl, enumerate: true}} {
		b, _ := testSelf.answer(r, addrs)
		f.Add(b)
		f.Add(b[:len(b)-3])
	}
	b, _ := testSelf.question([]string{"other._p2pos._udp.local."})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		if len(m.offers) > maxRecords || len(m.known) > maxRecords || len(m.questions) > maxQuestions {
			t.Errorf("%d offers, %d known answers, %d questions", len(m.offers), len(m.known), len(m.questions))
		}
		for _, o := range m.offers {
			if _, err := testSelf.question([]string{o.instance}); err != nil && o.port != 0 {
				t.Errorf("known answer %q: %v", o.instance, err)
			}
		}
		for _, q := range m.questions {
			testSelf.wants(q)
			if a, err := testSelf.answer(response{question: &q, ttl: legacyTTL}, addrs); err == nil {
				if _, err := parse(a); err != nil {
					t.Errorf("an answer to %v can't be read: %v", q, err)
				}
			}
		}
	})
}
