// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"sync"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

// Summon links with the devices of a person, where their reach records and the
// ticket say that they are, and has each prove itself. It sends them as they
// come and closes the channel when all that were found have been tried, or ctx
// ends. SessionUp tells of each as well.
func (h *Hub) Summon(ctx context.Context, t overlay.Target) <-chan Peer {
	out := make(chan Peer, 2*maxDevices+1)
	if t.Secret == (identity.Secret{}) || !h.spawn(func() { defer close(out); h.summon(ctx, t, out) }) {
		close(out)
	}
	return out
}

func (h *Hub) summon(ctx context.Context, t overlay.Target, out chan<- Peer) {
	ctx, stop := context.WithTimeout(ctx, searchTime+proveTime)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if h.patient(ctx, nil, nil) {
			h.reach(ctx, t, out)
		}
	})
	for at := range h.ov.Locate(ctx, t.ID, t.Secret).Places {
		if at.Cert.DeviceID() == h.cfg.Self.Certificate().DeviceID() {
			continue
		}
		wg.Go(func() {
			p, release, err := h.ov.Connect(ctx, at.Key)
			if err != nil {
				h.log.Debug("not linked", "node", identity.NodeIDOf(at.Key), "err", err)
				return
			}
			defer release() // what is proved holds it
			peer, err := h.prove(ctx, p, t.ID, t.Secret)
			if err != nil {
				h.log.Debug("not proved", "node", p.Node(), "err", err)
				return
			}
			select {
			case out <- peer:
			case <-ctx.Done():
			}
		})
	}
}
