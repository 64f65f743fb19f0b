// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"strings"
	"testing"
	"time"
)

func TestNewDevice(t *testing.T) {
	a, err := NewDevice(now, strings.Repeat("long ", 20))
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewDevice(now, "")
	if err != nil {
		t.Fatal(err)
	}
	if a.ID() == b.ID() || a.Key().Equal(b.Key()) || a.Reach() == b.Reach() || a.Reset() == b.Reset() ||
		a.Certificate().Sealing == b.Certificate().Sealing || a.Certificate().DeviceID() == b.Certificate().DeviceID() {
		t.Error("two devices share a secret")
	}
	c, err := ParseCertificate(a.Certificate().Raw(), now)
	if err != nil || c.Identity != a.ID() || !c.Device.Equal(a.Key().Public()) || len(c.Name) > maxName {
		t.Errorf("%+v, %v", c, err)
	}
	for _, at := range []time.Time{{}, time.Unix(-1, 0), time.Unix(1<<40, 0)} {
		if _, err := NewDevice(at, ""); err == nil || !strings.Contains(err.Error(), "clock") {
			t.Errorf("at %v: %v", at, err)
		}
	}
}
