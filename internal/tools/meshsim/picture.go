// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

func (b *bench) draw(dir string, reports []*report) error { return nil }
