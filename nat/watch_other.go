// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build !linux

package nat

import (
	"context"
	"errors"
)

// listenNetwork fails: Watch looks for itself.
func listenNetwork(context.Context) (<-chan netNews, error) {
	return nil, errors.New("nat: no news of the network on this system")
}
