// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"errors"
	"slices"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
)

var errRevoked = errors.New("session: from a revoked device")

const (
	// maxRevokers are people of whom revoked devices are remembered, those with
	// the latest news.
	maxRevokers = 1024
	// maxRevoked devices of one person: the latest, twice as many as can be
	// revoked within the life of a certificate.
	maxRevoked = 2 * identity.MaxRevoked
)

// Revoked are devices of one person that don't count any more.
type Revoked struct {
	ID      identity.ID
	Devices []identity.DeviceID
}

// revocations remembers what people have revoked. What was revoked once stays
// so: an old list that is shown again changes nothing.
type revocations struct {
	list []Revoked // the latest news last
}

func newRevocations(list []Revoked) (r revocations) {
	for _, v := range list {
		r.add(v.ID, v.Devices)
	}
	return r
}

func (r *revocations) find(id identity.ID) int {
	return slices.IndexFunc(r.list, func(v Revoked) bool { return v.ID == id })
}

func (r *revocations) has(id identity.ID, device identity.DeviceID) bool {
	i := r.find(id)
	return i >= 0 && slices.Contains(r.list[i].Devices, device)
}

// add reports whether any of it is new.
func (r *revocations) add(id identity.ID, devices []identity.DeviceID) bool {
	v := Revoked{ID: id}
	i := r.find(id)
	if i >= 0 {
		v = r.list[i]
	}
	list := slices.Clone(v.Devices)
	for _, d := range devices {
		if !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	if len(list) == len(v.Devices) {
		return false
	}
	v.Devices = list[max(len(list)-maxRevoked, 0):]
	if i >= 0 {
		r.list = slices.Delete(r.list, i, i+1)
	} else if len(r.list) == maxRevokers {
		r.list = r.list[1:]
	}
	r.list = append(r.list, v)
	return true
}

// all returns what is remembered, in the order of the identities.
func (r *revocations) all() []Revoked {
	list := slices.Clone(r.list)
	order.Sort(list, func(a, b Revoked) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return list
}
