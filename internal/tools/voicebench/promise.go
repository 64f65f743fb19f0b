// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"fmt"
	"io"
)

// promise is a number that the project promises, and what came of it.
type promise struct {
	what, want, got string
	kept            bool
}

func (b *bench) promise(what, want, got string, kept bool) {
	b.promises = append(b.promises, promise{what, want, got, kept})
}

// account prints what was promised, and what is.
func (b *bench) account(w io.Writer) {
	fmt.Fprintln(w, "What is promised, measured above.")
	fmt.Fprintln(w)
	for _, p := range b.promises {
		word := "kept"
		if !p.kept {
			word = "MISSED"
		}
		fmt.Fprintf(w, "%-48s %10s %12s  %s\n", p.what, p.want, p.got, word)
	}
	fmt.Fprintln(w)
}

// missed returns the promises that were not kept.
func (b *bench) missed() (list []promise) {
	for _, p := range b.promises {
		if !p.kept {
			list = append(list, p)
		}
	}
	return list
}
