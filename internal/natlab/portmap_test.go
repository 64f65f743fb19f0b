// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"net/netip"
	"testing"
	"time"
)

// TestPortMap: the gateway's daemon lets strangers in at the port it was asked
// for, behind a NAT that lets in nobody otherwise, and its rules can be read.
func TestPortMap(t *testing.T) {
	t.Parallel()
	NeedPortMap(t)
	r := newRig(t)
	spec := APDM.Spec()
	spec.PortMap = PCP
	h := r.Build("host", spec)
	c := r.open(h, 5000)
	to := netip.AddrPortFrom(h.Addr(), 5000)
	out := netip.AddrPortFrom(h.Site().Addr(), 5000)
	if h.Site().Mapped(to) || r.reaches(r.x1, out, c, r.y1) {
		t.Fatal("mapped before anybody asked")
	}
	// NAT-PMP (RFC 6886 §3.3): map UDP 5000 to 5000 for an hour.
	ask := r.open(h, 0)
	if _, err := ask.WriteToUDPAddrPort([]byte{0, 1, 0, 0, 0x13, 0x88, 0x13, 0x88, 0, 0, 0x0e, 0x10}, netip.AddrPortFrom(inside(h.Site().n, 1), 5351)); err != nil {
		t.Fatal(err)
	}
	ask.SetReadDeadline(time.Now().Add(patience))
	answer := make([]byte, 64)
	n, err := ask.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Site().Mapped(to) || !r.reaches(r.x1, out, c, r.y1) {
		t.Errorf("not mapped after %x", answer[:n])
	}
}
