// SPDX-License-Identifier: 0BSD

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// survey is what the report and the pictures show of the network.
type survey struct {
	places      []*place
	links       []link // when a began to call
	first, last time.Duration
	a, b        *place
	find        func(id string) int
}

func newSurvey(n *network) survey {
	v := survey{places: n.places, find: n.find, first: time.Hour}
	for _, p := range n.places {
		if p.class != kept { // it has nobody to join
			v.first, v.last = min(v.first, p.joined), max(v.last, p.joined)
		}
	}
	return v
}

// share is how many links the nodes of one class have.
type share struct {
	least, most int
	mean        float64
}

func (v survey) shares() (list [len(classes)]share) {
	per := make([]int, len(v.places))
	for _, l := range v.links {
		per[l.a]++
		per[l.b]++
	}
	for c := range list {
		s, n := share{least: len(v.places)}, 0
		for i, p := range v.places {
			if p.class == c {
				s.least, s.most = min(s.least, per[i]), max(s.most, per[i])
				s.mean += float64(per[i])
				n++
			}
		}
		s.mean /= max(1, float64(n))
		list[c] = s
	}
	return list
}

func (s share) String() string {
	if s.least == s.most {
		return fmt.Sprint(s.most)
	}
	return fmt.Sprintf("%.1f (%d to %d)", s.mean, s.least, s.most)
}

func (v survey) relayed() (n int) {
	for _, l := range v.links {
		if l.relayed {
			n++
		}
	}
	return n
}

// knowing says how many nodes know what their NATs do.
func (v survey) knowing() string {
	n := 0
	for _, p := range v.places {
		if p.knows() {
			n++
		}
	}
	if n == len(v.places) {
		return "all have"
	}
	return fmt.Sprintf("%d of them have", n)
}

// told says how many links there are.
func (v survey) told() string {
	s := fmt.Sprintf("%d links stand", len(v.links))
	if n := v.relayed(); n > 0 {
		s += fmt.Sprintf(", %d of them relayed", n)
	}
	return s
}

// label is a node in a sentence.
func (v survey) label(i int) string {
	return fmt.Sprintf("node %s (%s)", v.places[i].name, classes[v.places[i].class].name)
}

// how says who relays a call, or did.
func (v survey) how(a, b *party) string {
	list := v.relays(a, b)
	if len(list) == 0 {
		return ""
	}
	return ", relayed by " + v.labels(list)
}

func (v survey) labels(list []int) string {
	var names []string
	for _, i := range list {
		names = append(names, v.label(i))
	}
	return strings.Join(names, " and ")
}

// relays returns the places of the nodes that have relayed the call, in order.
func (v survey) relays(a, b *party) (list []int) {
	for _, p := range []*party{a, b} {
		p.mu.Lock()
		for _, id := range p.vias {
			if i := v.find(id.String()); i >= 0 && !slices.Contains(list, i) {
				list = append(list, i)
			}
		}
		p.mu.Unlock()
	}
	return list
}
