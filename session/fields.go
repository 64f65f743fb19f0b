// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"fmt"

	"github.com/p2pos/p2pos/internal/wire"
)

// readFields reads a list of tagged fields in which the tags of the mask need
// must be. visit says whether a field is as it should be; of those it does not
// know, it says so too. The error is ErrMessage and names what was read.
func readFields(what string, b []byte, need uint32, visit func(tag uint8, v []byte) bool) error {
	var seen uint32
	err := wire.Fields(b, func(tag uint8, v []byte) error {
		if !visit(tag, v) {
			return wire.ErrField
		}
		seen |= 1 << tag // nothing for those above 31: they are never needed
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMessage, what, err)
	}
	if seen&need != need {
		return fmt.Errorf("%w: %s lacks fields (has %#x)", ErrMessage, what, seen)
	}
	return nil
}
