// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// ErrAlone reports a node without a link: it may be right, but nobody can find
// it and it can find nobody.
var ErrAlone = errors.New("p2pos: no link to any other node")

// healthWait is how long Health waits for the node's loop. It answers in
// microseconds; one that takes a second doesn't keep up with its packets.
const healthWait = time.Second

// shutOutFor is how long a refusal by the network's roster explains that there is
// no link: the node asks again once a minute at least.
const shutOutFor = 2 * time.Minute

// Health reports whether the node can make and take calls now: nil, or
// net.ErrClosed after Close, ErrAlone without any link (it may pass: the node
// goes on trying; with ErrNotMember beside it, the network's roster keeps this node
// out), or context.DeadlineExceeded, wrapped, if the node has been
// too busy to answer for a second. A liveness probe should let ErrAlone pass, a
// readiness probe should not. It blocks for that second at most.
func (n *Node) Health() error {
	if n.ctx.Err() != nil {
		return net.ErrClosed
	}
	ctx, cancel := context.WithTimeout(n.ctx, healthWait)
	defer cancel()
	s, err := n.ov.Status(ctx)
	switch {
	case n.ctx.Err() != nil:
		return net.ErrClosed
	case err != nil:
		return fmt.Errorf("p2pos: the node doesn't answer: %w", err)
	case s.Links == 0:
		if err := n.shutOut(time.Now().Add(-shutOutFor)); err != nil {
			return fmt.Errorf("%w: %w", ErrAlone, err)
		}
		return ErrAlone
	}
	return nil
}
