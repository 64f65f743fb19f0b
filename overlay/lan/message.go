// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	domain      = ".local."
	service     = "_p2pos._udp" + domain
	enumeration = "_services._dns-sd._udp" + domain // RFC 6763 §9

	// ttl of all records: RFC 6762 §10 for those that name a host.
	ttl = 2 * time.Minute
	// legacyTTL is the most for whoever asks from another port than mDNS's
	// (RFC 6762 §6.7).
	legacyTTL = 10 * time.Second

	// topBit of a class means cache flush in a record (RFC 6762 §10.2), unicast
	// answers wanted in a question (§5.4).
	topBit = 1 << 15

	// maxMessage is the longest message (RFC 6762 §17).
	maxMessage = 9000
	// maxRecords of one message are looked at. Ours have up to 14; a responder
	// for many services may put some dozens together.
	maxRecords = 128
	// maxQuestions of one message are looked at: a question for each of our
	// names would be five.
	maxQuestions = 32
	// maxKnown bounds the known answers in a question of ours, so that it fits
	// one Ethernet frame: some 40 bytes each, 70 with a longest name.
	maxKnown = 24
)

var (
	errKind    = errors.New("lan: neither question nor answer")
	errRecords = errors.New("lan: too many records")
)

// message is what counts in an mDNS message.
type message struct {
	id        uint16
	response  bool
	questions []dnsmessage.Question
	known     []string // a question's known answers: instances
	offers    []offer  // a response's services of our kind
}

// offer is one instance of the service.
type offer struct {
	instance string // full name in lower case
	ttl      time.Duration
	port     uint16
	txt      []string
	addrs    []netip.Addr
}

// lower is how names are compared (RFC 6762 §16).
func lower(n dnsmessage.Name) string { return strings.ToLower(n.String()) }

// isInstance says whether a name in lower case is one of our service's. A label
// may have dots in it, but then the name as text can't be told from another
// one, nor written again; no node has such a name.
func isInstance(name string) bool {
	label, ok := strings.CutSuffix(name, "."+service)
	return ok && label != "" && !strings.Contains(label, ".")
}

// parse reads a message. What is not of our service is left out.
func parse(b []byte) (m message, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return m, fmt.Errorf("lan: header: %w", err)
	}
	if h.OpCode != 0 || h.RCode != 0 { // RFC 6762 §18.3, §18.11
		return m, errKind
	}
	m.id, m.response = h.ID, h.Response
	for n := 0; ; n++ {
		q, err := p.Question()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return m, fmt.Errorf("lan: question: %w", err)
		}
		if n == maxQuestions {
			return m, errRecords
		}
		m.questions = append(m.questions, q)
	}
	var r records
	if err := r.read(p.AnswerHeader, p.SkipAnswer, &p); err != nil {
		return m, err
	}
	if !m.response {
		for _, x := range r.ptr {
			if x.ttl >= ttl/2 { // else it wants to be renewed (RFC 6762 §7.1)
				m.known = append(m.known, x.to)
			}
		}
		return m, nil
	}
	if err := p.SkipAllAuthorities(); err != nil {
		return m, fmt.Errorf("lan: authorities: %w", err)
	}
	if err := r.read(p.AdditionalHeader, p.SkipAdditional, &p); err != nil {
		return m, err
	}
	m.offers = r.offers()
	return m, nil
}

// records are those of a message that may belong to a service of ours.
type records struct {
	seen  int
	ptr   []pointer
	srv   []serving
	txt   map[string][]string
	hosts map[string][]netip.Addr
}

type pointer struct {
	to  string
	ttl time.Duration
}

type serving struct {
	name, host string
	port       uint16
	ttl        time.Duration
}

func (r *records) read(next func() (dnsmessage.ResourceHeader, error), skip func() error, p *dnsmessage.Parser) error {
	for {
		h, err := next()
		if err == dnsmessage.ErrSectionDone {
			return nil
		}
		if r.seen++; err == nil && r.seen > maxRecords {
			return errRecords
		}
		if err == nil {
			err = r.take(h, skip, p)
		}
		if err != nil {
			return fmt.Errorf("lan: record: %w", err)
		}
	}
}

func (r *records) take(h dnsmessage.ResourceHeader, skip func() error, p *dnsmessage.Parser) error {
	if h.Class&^topBit != dnsmessage.ClassINET {
		return skip()
	}
	name, life := lower(h.Name), time.Duration(h.TTL)*time.Second
	ours := isInstance(name)
	switch {
	case h.Type == dnsmessage.TypePTR && name == service:
		x, err := p.PTRResource()
		if err != nil {
			return err
		}
		r.ptr = append(r.ptr, pointer{lower(x.PTR), life})
	case h.Type == dnsmessage.TypeSRV && ours:
		x, err := p.SRVResource()
		if err != nil {
			return err
		}
		r.srv = append(r.srv, serving{name, lower(x.Target), x.Port, life})
	case h.Type == dnsmessage.TypeTXT && ours:
		x, err := p.TXTResource()
		if err != nil {
			return err
		}
		if r.txt == nil {
			r.txt = make(map[string][]string)
		}
		r.txt[name] = x.TXT
	case h.Type == dnsmessage.TypeA:
		x, err := p.AResource()
		if err != nil {
			return err
		}
		r.host(name, netip.AddrFrom4(x.A))
	case h.Type == dnsmessage.TypeAAAA:
		x, err := p.AAAAResource()
		if err != nil {
			return err
		}
		r.host(name, netip.AddrFrom16(x.AAAA))
	default:
		return skip()
	}
	return nil
}

func (r *records) host(name string, a netip.Addr) {
	if r.hosts == nil {
		r.hosts = make(map[string][]netip.Addr)
	}
	r.hosts[name] = append(r.hosts[name], a)
}

// offers puts the records together. A pointer with TTL 0 alone is a goodbye as
// well (RFC 6762 §10.1).
func (r *records) offers() (list []offer) {
	for _, s := range r.srv {
		list = append(list, offer{instance: s.name, ttl: s.ttl, port: s.port, txt: r.txt[s.name], addrs: r.hosts[s.host]})
	}
	for _, p := range r.ptr {
		if p.ttl == 0 {
			list = append(list, offer{instance: p.to})
		}
	}
	return list
}
