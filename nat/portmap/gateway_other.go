// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd || windows)

package portmap

import "errors"

// defaultRoutes has no way to know here: the router is guessed.
func defaultRoutes(bool) ([]route, error) { return nil, errors.ErrUnsupported }
