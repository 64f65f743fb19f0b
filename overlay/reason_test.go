// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"strings"
	"testing"

	"github.com/p2pos/p2pos/nat"
)

// Whatever became of a punch, people get a sentence about it.
func TestReason(t *testing.T) {
	apd := nat.Behaviour{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent}
	eim := nat.Behaviour{Mapping: nat.EndpointIndependent, Filtering: nat.AddressAndPortDependent}
	friendly := nat.PlanOptions{Friendly: true}
	for name, c := range map[string]struct {
		k    punching
		want string
	}{
		"not tried":  {punching{}, "has been tried yet"},
		"hopeless":   {punching{tried: true, plan: nat.MakePlan(apd, apd, friendly)}, "both NATs take a new port"},
		"goes on":    {punching{tried: true, plan: nat.MakePlan(eim, apd, friendly), run: new(nat.Puncher)}, "still"},
		"in vain":    {punching{tried: true, plan: nat.MakePlan(eim, apd, friendly), end: nat.Silence}, "searched in vain: no answer"},
		"not begun":  {punching{tried: true, plan: nat.MakePlan(eim, apd, friendly), end: nat.Nothing}, "two nodes"},
		"no budget":  {punching{tried: true, plan: nat.MakePlan(eim, apd, friendly), end: nat.NoBudget}, "no more packets"},
		"both wrote": {punching{tried: true, plan: nat.MakePlan(eim, eim, friendly), end: nat.Nothing}, "nothing came through"},
		"public":     {punching{tried: true, plan: nat.MakePlan(nat.Behaviour{Mapping: nat.NoNAT, Filtering: nat.NoNAT}, apd, friendly)}, "everybody should reach"},
	} {
		if got := c.k.reason(); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
