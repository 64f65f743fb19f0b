// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat_test

import (
	"testing"

	"github.com/p2pos/p2pos/session/chat"
	"github.com/p2pos/p2pos/session/chat/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T, last chat.Store) chat.Store {
		if last != nil {
			return last.(*chat.Memory).Copy()
		}
		return chat.NewMemory()
	})
}
