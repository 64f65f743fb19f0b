// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"regexp"
	"slices"
	"strings"
)

// allowed holds the licences that go with both of ours, by SPDX identifier.
// (MPL-2.0 asks only that its own files stay open.)
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "Unlicense"}

// The texts are compared as words, without case, punctuation and line breaks,
// and after the title and the copyright lines were taken out. A short licence
// must match from its first to its last word, so that nothing can hide behind
// it; of a long one the beginning, the end and the number of words are held.
const (
	asIs         = `this software is provided by (the )?(\w+ ){1,12}as is and any express or implied warranties including but not limited to the implied warranties of merchantability and fitness for a particular purpose are disclaimed in no event shall (the )?(\w+ ){1,12}be liable for any direct indirect incidental special exemplary or consequential damages including but not limited to procurement of substitute goods or services loss of use data or profits or business interruption however caused and on any theory of liability whether in contract strict liability or tort including negligence or otherwise arising in any way out of the use of this software even if advised of the possibility of such damage`
	bsd2         = `redistribution and use in source and binary forms with or without modification are permitted provided that the following conditions are met (1 )?redistributions of source code must retain the above copyright notice this list of conditions and the following disclaimer (2 )?redistributions in binary form must reproduce the above copyright notice this list of conditions and the following disclaimer in the documentation and or other materials provided with the distribution `
	bsd3         = `(3 )?(neither the names? of (the )?(\w+ ){1,12}nor the names of (its|the|their) (\w+ )?contributors may|the names of its contributors may not) be used to endorse or promote products derived from this software without specific prior written permission `
	apacheNotice = `licensed under the apache license version 2 0 the license you may not use this file except in compliance with the license you may obtain a copy of the license at https? www apache org licenses license 2 0 unless required by applicable law or agreed to in writing software distributed under the license is distributed on an as is basis without warranties or conditions of any kind either express or implied see the license for the specific language governing permissions and limitations under the license`
	iscGrant     = `permission to use copy modify and (or )?distribute this software for any purpose with or without fee is hereby granted`
	iscAsIs      = ` the software is provided as is and (the )?(\w+ ){1,6}disclaims? all warranties with regard to this software including all implied warranties of merchantability and fitness in no event shall (the )?(\w+ ){1,6}be liable for any special direct indirect or consequential damages or any damages whatsoever resulting from loss of use data or profits whether in an action of contract negligence or other tortious action arising out of or in connection with the use or performance of this software`
	mit          = `permission is hereby granted free of charge to any person obtaining a copy of this software and associated documentation files the software to deal in the software without restriction including without limitation the rights to use copy modify merge publish distribute sublicense and or sell copies of the software and to permit persons to whom the software is furnished to do so subject to the following conditions the above copyright notice and this permission notice shall be included in all copies or substantial portions of the software the software is provided as is without warranty of any kind express or implied including but not limited to the warranties of merchantability fitness for a particular purpose and noninfringement in no event shall the authors or copyright holders be liable for any claim damages or other liability whether in an action of contract tort or otherwise arising from out of or in connection with the software or the use or other dealings in the software`
)

// texts maps an identifier to the words of its text. Longer ones stand first.
var texts = []struct {
	id       string
	re       *regexp.Regexp
	min, max int // words
}{
	{"MIT", whole(mit), 150, 180},
	{"BSD-3-Clause", whole(bsd2 + bsd3 + asIs), 150, 280},
	{"BSD-2-Clause", whole(bsd2 + asIs), 120, 220},
	{"ISC", whole(iscGrant + ` provided that the above copyright notice and this permission notice appear in all copies` + iscAsIs), 100, 140},
	{"0BSD", whole(iscGrant + iscAsIs), 80, 120},
	{"Unlicense", whole(`this is free and unencumbered software released into the public domain anyone is free to copy modify publish use compile sell or distribute this software .* dealings in the software( for more information please refer to https? (www )?unlicense org)?`), 180, 230},
	{"Apache-2.0", whole(`apache license version 2 0 january 2004 (https? www apache org licenses )?terms and conditions for use reproduction and distribution 1 definitions .* end of terms and conditions( appendix how to apply the apache license to your work .* limitations under the license)?`), 1350, 1700},
	// Some projects put the notice of the licence's appendix where its text should be.
	{"Apache-2.0", whole(apacheNotice), 80, 100},
	// The YAML library's: which file is under which. A line of it reads like a
	// copyright line and is taken out.
	{"MIT AND Apache-2.0", whole(`this project is covered by two different licenses mit and apache the following files were ported to go from c files of libyaml and thus are still covered by their original mit license with the additional (\w+ go ){1,12}` + mit + ` apache license all the remaining project files are covered by the apache license ` + apacheNotice), 280, 320},
	{"MPL-2.0", whole(`mozilla public license version 2 0 1 definitions .* this source code form is incompatible with secondary licenses as defined by the mozilla public license v 2 0`), 2300, 2700},
}

func whole(words string) *regexp.Regexp { return regexp.MustCompile(`^` + words + `$`) }

var (
	title     = regexp.MustCompile(`^(the )?((mit|isc|bsd|bsd [23] clause|[23] clause bsd|new bsd|simplified bsd|modified bsd|0bsd|bsd zero clause) )?license( mit)?$`)
	copyright = regexp.MustCompile(`^(portions )?(copyright\b.*([0-9]{4}|\(c\)|©)|\(c\)|©|all rights reserved)`)
	notWord   = regexp.MustCompile(`[^\pL\pN]+`)
)

// detect returns the SPDX identifier of a licence text, or "" when it is no
// text on the list, from beginning to end.
func detect(text string) string {
	var words []string
	for line := range strings.Lines(strings.ToLower(text)) {
		line = strings.Trim(line, " \t\r\n#*=-_/")
		if copyright.MatchString(line) {
			continue
		}
		if line = strings.TrimSpace(notWord.ReplaceAllString(line, " ")); !title.MatchString(line) {
			words = append(words, strings.Fields(line)...)
		}
	}
	joined := strings.Join(words, " ")
	for _, t := range texts {
		if len(words) >= t.min && len(words) <= t.max && t.re.MatchString(joined) {
			return t.id
		}
	}
	return ""
}

var spdxLine = regexp.MustCompile(`(?m)^[ \t/*#;-]*SPDX-License-Identifier:[ \t]*(.*?)[ \t*/]*\r?$`)

// declared returns the SPDX expression in the head of a source file, or "".
func declared(src []byte) string {
	if m := spdxLine.FindSubmatch(src[:min(len(src), 4<<10)]); m != nil {
		return string(m[1])
	}
	return ""
}

// permits reports whether an SPDX expression leaves us an allowed choice.
// Expressions with parentheses or exceptions are for a person to read.
func permits(expression string) bool {
	for choice := range strings.SplitSeq(expression, " OR ") {
		all := true
		for id := range strings.SplitSeq(choice, " AND ") {
			all = all && slices.Contains(allowed, strings.TrimSpace(id))
		}
		if all {
			return true
		}
	}
	return false
}
