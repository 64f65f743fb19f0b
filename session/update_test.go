// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/p2pos/p2pos/internal/wire"
)

func TestGoldenUpdate(t *testing.T) {
	u := update{seq: 3, seen: 2, wants: true, state: StateHeld, nonce: repeat32(7)}
	const golden = "0100040000000302000400000002030001010400040000" + "0001050020" + "0707070707070707070707070707070707070707070707070707070707070707"
	plain := u.append(nil)
	if got := hex.EncodeToString(plain); got != golden {
		t.Errorf("got  %s\nwant %s", got, golden)
	}
	if got, err := parseUpdate(plain); err != nil || fmt.Sprint(got) != fmt.Sprint(u) {
		t.Errorf("%+v, %v", got, err)
	}
	later := wire.AppendField(bytes.Clone(plain), 200, []byte("news"))
	if got, err := parseUpdate(later); err != nil || fmt.Sprint(got) != fmt.Sprint(u) {
		t.Errorf("later version: %+v, %v", got, err)
	}
	for i := range len(plain) {
		if i == 25 {
			continue // a whole one without a nonce
		}
		if _, err := parseUpdate(plain[:i]); !errors.Is(err, ErrMessage) {
			t.Errorf("%d bytes: %v", i, err)
		}
	}
}

// The keys of the two directions, of the media and of every call differ.
func TestUpdateKeys(t *testing.T) {
	_, _, _, ka, kb := connected(t)
	_, _, _, other, _ := connected(t)
	if ka.Keys.sendUpdate != kb.Keys.receiveUpdate || ka.Keys.receiveUpdate != kb.Keys.sendUpdate {
		t.Error("the two sides' keys do not mirror each other")
	}
	if ka.Keys.sendUpdate == ka.Keys.receiveUpdate || ka.Keys.sendUpdate == other.Keys.sendUpdate ||
		bytes.Equal(ka.Keys.sendUpdate[:16], ka.Keys.Send.key[:]) {
		t.Error("keys repeat")
	}
	if s := fmt.Sprintf("%v %+v %#v", ka.Keys, ka.Keys, ka.Keys); s != "session.Keys(secret) session.Keys(secret) session.Keys(secret)" {
		t.Error("keys print: ", s)
	}
}

func FuzzUpdate(f *testing.F) {
	f.Add((&update{seq: 1, wants: true}).append(nil))
	f.Add(unhex("01000400000003020004000000020300010104000400000001"))
	f.Add(unhex("0100040000000302000400000002"))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := parseUpdate(b)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatal(err)
			}
			return
		}
		again, err := parseUpdate(u.append(nil))
		if err != nil || !reflect.DeepEqual(again, u) {
			t.Fatalf("%+v became %+v, %v", u, again, err)
		}
	})
}
