// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/p2pos/p2pos/internal/wire"
)

// Ticket, at most 160 bytes:
//
//	"p2pos:" || base32 of: version(1)=1 || fields || checksum(4)
//	1 identity key (32)
//	2 reach secret (16)
//	3 network tag (4)
//	4 expires (4), Unix minutes
//	5 addresses of the issuer, at most 4: each vec8 of IP (4 or 16) and port (2)
//	6 addresses of introducers, at most 3, likewise
//	7 flags (1): bit 0 = once
//
// The checksum is the first 4 bytes of SHA-256 over "p2pos ticket v1" and all
// before it. It stands at the end in every version, so that a mistyped ticket
// and a newer one can be told apart.
const (
	ticketPrefix  = "p2pos:"
	ticketVersion = 1
	ticketContext = "p2pos ticket v1"
	ticketSum     = 4

	// maxTicket makes 262 characters, which a QR code of version 10-M holds.
	maxTicket = 160

	// maxTicketText bounds what ParseTicket reads: a mailer may have wrapped
	// and indented the text, and a newer version may be longer.
	maxTicketText = 4096
)

// How many addresses a ticket carries at most: the issuer's few kinds (LAN,
// public, IPv6, mapped port), and introducers enough that one is still there.
const (
	MaxTicketAddrs       = 4
	MaxTicketIntroducers = 3
)

// The errors of ParseTicket.
var (
	ErrNotTicket      = errors.New("identity: not a ticket")
	ErrTicketChecksum = errors.New("identity: ticket is mistyped or cut off")
	ErrTicketVersion  = errors.New("identity: ticket is from a newer program")
	ErrTicketExpired  = errors.New("identity: ticket has expired")
)

// Ticket is what one person hands to another to be called: who, the secret to
// find them by, and where to start. It is not signed: who changes ID or secret
// makes it useless, since every link proves the identity; addresses and expiry
// are hints to the caller's own program, and its holder can change them.
type Ticket struct {
	ID      ID
	Reach   Secret
	Network [4]byte   // Network.Tag of the network it belongs to
	Expires time.Time // kept in whole minutes, rounded up

	Addrs       []netip.AddrPort // of the issuer, best first, at most MaxTicketAddrs
	Introducers []netip.AddrPort // of nodes linked to the issuer, at most MaxTicketIntroducers
	Once        bool             // good for one contact only
}

// IsTicket tells whether s looks like a ticket, judged by its prefix.
func IsTicket(s string) bool {
	s = strings.TrimSpace(s)
	return len(s) >= len(ticketPrefix) && strings.EqualFold(s[:len(ticketPrefix)], ticketPrefix)
}

// Text returns the ticket's text of at most 262 characters. It fails on the
// zero ID, an expiry outside 1970–10136, an address that makes no sense on
// another machine, and on more addresses than fit; see Fit.
func (t Ticket) Text() (string, error) {
	if t.ID.IsZero() {
		return "", errors.New("identity: ticket without an ID")
	}
	minutes := (t.Expires.Unix() + 59) / 60
	if minutes <= 0 || minutes > math.MaxUint32 {
		return "", fmt.Errorf("identity: ticket: impossible expiry %s", t.Expires.UTC().Format(time.RFC3339))
	}
	addrs, err := appendAddrs(t.Addrs, MaxTicketAddrs)
	if err != nil {
		return "", fmt.Errorf("identity: ticket: addresses: %w", err)
	}
	intros, err := appendAddrs(t.Introducers, MaxTicketIntroducers)
	if err != nil {
		return "", fmt.Errorf("identity: ticket: introducers: %w", err)
	}

	b := make([]byte, 0, maxTicket)
	b = append(b, ticketVersion)
	b = wire.AppendField(b, 1, t.ID[:])
	b = wire.AppendField(b, 2, t.Reach[:])
	b = wire.AppendField(b, 3, t.Network[:])
	b = wire.AppendField(b, 4, binary.BigEndian.AppendUint32(nil, uint32(minutes)))
	if len(addrs) > 0 {
		b = wire.AppendField(b, 5, addrs)
	}
	if len(intros) > 0 {
		b = wire.AppendField(b, 6, intros)
	}
	if t.Once {
		b = wire.AppendField(b, 7, []byte{1})
	}
	sum := ticketChecksum(b)
	b = append(b, sum[:]...)
	if len(b) > maxTicket {
		return "", fmt.Errorf("identity: ticket: %d bytes, at most %d fit: too many addresses", len(b), maxTicket)
	}
	return ticketPrefix + encode32(b), nil
}

// Fit returns t with as many of its addresses as a ticket carries: it takes
// address and introducer in turn, each list in its order, and leaves out what
// Text would refuse.
func (t Ticket) Fit() Ticket {
	const row = 3 // tag and length of a field
	left := maxTicket - (1 + row + 32 + row + 16 + row + 4 + row + 4 + row + 1 + ticketSum)
	left -= 2 * row // of the two lists
	take := func(list []netip.AddrPort, i int, kept []netip.AddrPort, most int) []netip.AddrPort {
		if i >= len(list) || len(kept) >= most {
			return kept
		}
		a, ok := ticketAddr(list[i])
		size := 1 + a.Addr().BitLen()/8 + 2
		if !ok || size > left {
			return kept
		}
		left -= size
		return append(kept, a)
	}
	var addrs, intros []netip.AddrPort
	for i := range max(len(t.Addrs), len(t.Introducers)) {
		addrs = take(t.Addrs, i, addrs, MaxTicketAddrs)
		intros = take(t.Introducers, i, intros, MaxTicketIntroducers)
	}
	t.Addrs, t.Introducers = addrs, intros
	return t
}

// LogValue keeps the reach secret out of logs.
func (t Ticket) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("id", t.ID), slog.Time("expires", t.Expires))
}

// ParseTicket reads a ticket; case, white space and dashes are ignored. The
// errors are ErrNotTicket, ErrTicketChecksum, ErrTicketVersion and
// ErrTicketExpired; with the last one the ticket is returned all the same, so
// that its owner can be named.
func ParseTicket(s string, now time.Time) (Ticket, error) {
	if !IsTicket(s) {
		return Ticket{}, fmt.Errorf("%w: it does not start with %q", ErrNotTicket, ticketPrefix)
	}
	if len(s) > maxTicketText {
		return Ticket{}, fmt.Errorf("%w: %d bytes long", ErrNotTicket, len(s))
	}
	head := strings.Index(s, ":") + 1
	syms, _ := scan(s[head:], utf8.RuneCountInString(s[:head]))
	for _, c := range syms {
		if c.val == foreign {
			return Ticket{}, fmt.Errorf("%w: character %d is %q, which no ticket contains", ErrTicketChecksum, c.rune, c.got)
		}
	}
	b, ok := decode32(syms)
	if !ok || len(b) < 1+ticketSum {
		return Ticket{}, ErrTicketChecksum
	}
	body := b[:len(b)-ticketSum]
	if ticketChecksum(body) != [ticketSum]byte(b[len(body):]) {
		return Ticket{}, ErrTicketChecksum
	}
	if body[0] != ticketVersion {
		return Ticket{}, fmt.Errorf("%w: version %d, this one knows version %d", ErrTicketVersion, body[0], ticketVersion)
	}
	if len(b) > maxTicket {
		return Ticket{}, fmt.Errorf("%w: %d bytes", ErrNotTicket, len(b))
	}
	t, err := parseTicketFields(body[1:])
	if err != nil {
		return Ticket{}, fmt.Errorf("%w: %w", ErrNotTicket, err)
	}
	if !now.Before(t.Expires) {
		return t, fmt.Errorf("%w at %s", ErrTicketExpired, t.Expires.Format("2006-01-02 15:04 MST"))
	}
	return t, nil
}

func parseTicketFields(b []byte) (t Ticket, err error) {
	seen := 0
	err = wire.Fields(b, func(tag uint8, v []byte) error {
		r := wire.NewReader(v)
		switch tag {
		case 1:
			r.Fixed(t.ID[:])
		case 2:
			r.Fixed(t.Reach[:])
		case 3:
			r.Fixed(t.Network[:])
		case 4:
			t.Expires = time.Unix(int64(r.U32())*60, 0).UTC()
		case 5:
			t.Addrs, err = parseAddrs(r, MaxTicketAddrs)
			return err
		case 6:
			t.Introducers, err = parseAddrs(r, MaxTicketIntroducers)
			return err
		case 7:
			t.Once = r.U8()&1 != 0
			return r.Done()
		default:
			return nil
		}
		seen++
		return r.Done()
	})
	switch {
	case err != nil:
		return Ticket{}, err
	case seen != 4:
		return Ticket{}, errors.New("a field is missing")
	case t.ID.IsZero():
		return Ticket{}, errors.New("the zero ID is nobody")
	}
	return t, nil
}

func ticketChecksum(body []byte) [ticketSum]byte {
	h := sha256.Sum256(append([]byte(ticketContext), body...))
	return [ticketSum]byte(h[:])
}
