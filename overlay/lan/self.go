// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// self is what this node announces, and the messages it sends.
type self struct {
	instance, host string // full names in lower case
	port           uint16
	facts          facts
}

func newSelf(instance string, port uint16, network [4]byte) self {
	i := strings.ToLower(instance)
	return self{i + "." + service, i + domain, port, facts{version, network}}
}

// wants says whether a question is for a record of ours, and for which.
func (s *self) wants(q dnsmessage.Question) (want, list, enumerate bool) {
	if c := q.Class &^ topBit; c != dnsmessage.ClassINET && c != dnsmessage.ClassANY {
		return false, false, false
	}
	is := func(types ...dnsmessage.Type) bool {
		for _, t := range types {
			if q.Type == t {
				return true
			}
		}
		return q.Type == dnsmessage.TypeALL
	}
	switch lower(q.Name) {
	case service:
		list = is(dnsmessage.TypePTR)
		return list, list, false
	case s.instance:
		return is(dnsmessage.TypeSRV, dnsmessage.TypeTXT), false, false
	case s.host:
		return is(dnsmessage.TypeA, dnsmessage.TypeAAAA), false, false
	case enumeration:
		enumerate = is(dnsmessage.TypePTR)
		return enumerate, false, enumerate
	}
	return false, false, false
}

// response is how an answer is to be.
type response struct {
	id        uint16
	question  *dnsmessage.Question // repeated to who asks from another port
	ttl       time.Duration        // 0 = goodbye
	enumerate bool                 // with the name of the service's kind
}

// answer packs all records, with the addresses of one interface.
func (s *self) answer(r response, addrs []netip.Addr) ([]byte, error) {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: r.id, Response: true, Authoritative: true}}
	unique := dnsmessage.Class(dnsmessage.ClassINET | topBit)
	if r.question != nil {
		m.Questions = []dnsmessage.Question{*r.question}
		unique = dnsmessage.ClassINET // RFC 6762 §6.7: no cache flush
	}
	var err error
	name := func(s string) dnsmessage.Name {
		n, e := dnsmessage.NewName(s)
		if e != nil {
			err = e
		}
		return n
	}
	add := func(n string, c dnsmessage.Class, b dnsmessage.ResourceBody) {
		h := dnsmessage.ResourceHeader{Name: name(n), Class: c, TTL: uint32(r.ttl / time.Second)}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: b})
	}
	if r.enumerate {
		add(enumeration, dnsmessage.ClassINET, &dnsmessage.PTRResource{PTR: name(service)})
	}
	add(service, dnsmessage.ClassINET, &dnsmessage.PTRResource{PTR: name(s.instance)})
	add(s.instance, unique, &dnsmessage.SRVResource{Port: s.port, Target: name(s.host)})
	add(s.instance, unique, &dnsmessage.TXTResource{TXT: s.facts.txt()})
	for _, a := range addrs {
		if a.Is4() {
			add(s.host, unique, &dnsmessage.AResource{A: a.As4()})
		} else {
			add(s.host, unique, &dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	if err != nil {
		return nil, err
	}
	return m.Pack()
}

// question asks for everybody who is not known. Our own name is always the
// first that is: so nobody answers its own question, and it is told from those
// of others when it comes back.
func (s *self) question(known []string) ([]byte, error) {
	asked, err := dnsmessage.NewName(service)
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Questions: []dnsmessage.Question{{Name: asked, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}},
	}
	for _, k := range append([]string{s.instance}, known...) {
		to, err := dnsmessage.NewName(k)
		if err != nil {
			continue
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: asked, Class: dnsmessage.ClassINET, TTL: uint32(ttl / time.Second)},
			Body:   &dnsmessage.PTRResource{PTR: to},
		})
	}
	return m.Pack()
}
