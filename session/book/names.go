// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package book

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
)

// Names returns the petnames to show where they differ from those given: two
// devices that were apart may have given one name to two people. Who had it
// first keeps it, the others get a number: "Anna (2)". Every device comes to the
// same names, and a name that is free again is given back.
func Names(list []Contact) map[identity.ID]string {
	with := make(map[string][]Contact)
	for _, c := range list {
		if c.Present() && c.Name != "" {
			f := Fold(c.Name)
			with[f] = append(with[f], c)
		}
	}
	var twice []string
	for f, l := range with {
		if len(l) > 1 {
			twice = append(twice, f)
		}
	}
	if twice == nil {
		return nil
	}
	slices.Sort(twice)
	shown := make(map[identity.ID]string)
	taken := make(map[string]bool)
	for _, f := range twice {
		l := with[f]
		order.Sort(l, func(a, b Contact) int {
			return cmp.Or(cmp.Compare(a.At.Name, b.At.Name), bytes.Compare(a.ID[:], b.ID[:]))
		})
		n := 2
		for _, c := range l[1:] {
			for ; ; n++ {
				name := numbered(c.Name, n)
				if f := Fold(name); with[f] == nil && !taken[f] {
					shown[c.ID], taken[f] = name, true
					break
				}
			}
		}
	}
	return shown
}

// numbered puts a number behind a name, which is cut where there is no room.
func numbered(name string, n int) string {
	tail := fmt.Sprintf(" (%d)", n)
	for len(name)+len(tail) > maxName {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name + tail
}

// Fold returns what is the same for names that differ in their case alone, as
// strings.EqualFold sees it.
func Fold(name string) string {
	fold := make([]rune, 0, len(name))
	for _, r := range name {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		fold = append(fold, least)
	}
	return string(fold)
}
