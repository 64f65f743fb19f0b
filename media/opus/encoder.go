// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus

import "errors"

// ErrNoEncoder says that this package only decodes, and what encodes.
var ErrNoEncoder = errors.New("opus: pure Go cannot encode; use media/libopus, built with cgo and -tags libopus,nolibopusfile")

// NewEncoder always returns ErrNoEncoder: it is here so that who looks for an
// encoder learns where one is.
func NewEncoder(channels int) error { return ErrNoEncoder }
