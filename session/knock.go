// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

// Knocked says that a stranger has left word at this device's inbox, once a day
// at most.
type Knocked struct {
	Peer  identity.ID
	Name  string // shown, never trusted
	Text  string
	Reach identity.Secret // zero = he can't be called back
}

func (Knocked) hubEvent() {}

// knocked takes word from the inbox, unless it is from somebody shut out.
func (h *Hub) knocked(e overlay.Knocked) {
	if id := e.From.Identity; id != h.cfg.Self.ID() && !h.shut(id) {
		h.emit(Knocked{Peer: id, Name: e.Name, Text: e.Text, Reach: e.Reach})
	}
}
