// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// CHAT carries an envelope of text (package chat) over a link, in parts that fit
// its frames:
//
//	type(1)=16 || flags(1): bit 0 = more follows, bit 1 = first part || part
//
// The parts of one envelope go over one link, which keeps their order.

import (
	"fmt"

	"github.com/p2pos/p2pos/session/chat"
)

const typeChat messageType = 16

const (
	letterMore  = 1 << 0
	letterFirst = 1 << 1

	// maxPart fills a frame of the control stream (design/001).
	maxPart = 4096 - 2
)

// letterParts cuts an envelope.
func letterParts(envelope []byte) (list [][]byte) {
	flags := byte(letterFirst)
	for {
		n := min(len(envelope), maxPart)
		if n < len(envelope) {
			flags |= letterMore
		}
		list = append(list, append([]byte{byte(typeChat), flags}, envelope[:n]...))
		envelope = envelope[n:]
		if len(envelope) == 0 {
			return list
		}
		flags = 0
	}
}

// assembly puts the parts of one link together.
type assembly struct {
	buf  []byte
	open bool // a first part has come, and not the last
}

// take takes a part. It returns an envelope when one is whole.
func (a *assembly) take(b []byte) ([]byte, error) {
	if len(b) < 2 || typeOf(b) != typeChat {
		return nil, fmt.Errorf("%w: chat of %d bytes", ErrMessage, len(b))
	}
	flags, part := b[1], b[2:]
	if flags&letterFirst != 0 {
		a.buf, a.open = nil, true
	}
	if !a.open {
		return nil, fmt.Errorf("%w: chat without its first part", ErrMessage)
	}
	if len(a.buf)+len(part) > chat.MaxEnvelope {
		a.buf, a.open = nil, false
		return nil, fmt.Errorf("%w: chat of more than %d bytes", ErrMessage, chat.MaxEnvelope)
	}
	a.buf = append(a.buf, part...)
	if flags&letterMore != 0 {
		return nil, nil
	}
	whole := a.buf
	a.buf, a.open = nil, false
	return whole, nil
}
