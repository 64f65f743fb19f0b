// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName leaves room in the 255 bytes of a file system's name for a number.
const maxName = 200

// CleanName makes a name for this computer's disk out of an offered one: no
// path, nothing that can't be seen, nothing that some system takes for
// something else. It always returns a name that can be used.
func CleanName(offered string) string {
	if i := strings.LastIndexAny(offered, "/\\"); i >= 0 {
		offered = offered[i+1:]
	}
	name := strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError, unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs):
			return -1
		case strings.ContainsRune("<>:\"|?*", r):
			return '_' // Windows' wildcards, streams and redirections
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, offered)
	name = strings.TrimRight(strings.TrimLeft(name, ". "), ". ") // hidden files; ends that Windows drops
	if len(name) > maxName {
		ext := path.Ext(name)
		if len(ext) > maxName/4 {
			ext = ""
		}
		name = strings.TrimRight(cutRunes(name[:len(name)-len(ext)], maxName-len(ext)), ". ") + ext
	}
	if name == "" {
		return "file"
	}
	if reserved(name) {
		name = "_" + name
	}
	return name
}

// cutRunes returns the beginning of s of at most n bytes, whole characters.
func cutRunes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// reserved tells whether Windows takes a name for a device, whatever ending it
// has.
func reserved(name string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(name), ".")
	base = strings.TrimRight(base, " ")
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	if rest, ok := strings.CutPrefix(base, "COM"); ok || strings.HasPrefix(base, "LPT") {
		if !ok {
			rest = base[len("LPT"):]
		}
		return len(rest) == 1 && rest[0] >= '0' && rest[0] <= '9' || rest == "¹" || rest == "²" || rest == "³"
	}
	return false
}

// numbered returns the n-th name to try, from 1: name.ext, name (2).ext, …
func numbered(name string, n int) string {
	if n == 1 {
		return name
	}
	ext := path.Ext(name)
	if ext == name {
		ext = ""
	}
	return strings.TrimSuffix(name, ext) + " (" + strconv.Itoa(n) + ")" + ext
}
