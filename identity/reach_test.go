// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestHour(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want uint64
	}{
		{time.Unix(0, 0), 0}, {time.Unix(3599, 999), 0}, {time.Unix(3600, 0), 1},
		{time.Time{}, 0}, // a clock before 1970 makes no huge hour
	} {
		if got := Hour(c.at); got != c.want {
			t.Errorf("Hour(%v) = %d, want %d", c.at, got, c.want)
		}
	}
}

// A tag depends on each of its inputs.
func TestReachTag(t *testing.T) {
	s, id := Secret{1}, ID{2}
	tag := ReachTag(s, id, 3)
	for what, other := range map[string][16]byte{
		"secret": ReachTag(Secret{9}, id, 3),
		"id":     ReachTag(s, ID{9}, 3),
		"hour":   ReachTag(s, id, 4),
	} {
		if other == tag {
			t.Errorf("another %s gives the same tag", what)
		}
	}
}

// Nothing that fmt or slog can be asked to do shows a secret.
func TestSecretsNotPrinted(t *testing.T) {
	d := testDevice(t, now, "desk")
	n, err := NewNetwork("acme")
	if err != nil {
		t.Fatal(err)
	}
	ticket := Ticket{ID: d.ID(), Reach: d.Reach(), Expires: now}
	forbidden := []string{
		fmt.Sprintf("%x", [16]byte(d.reach)), fmt.Sprintf("%v", [16]byte(d.reach)), fmt.Sprintf("%#v", [16]byte(d.reach)),
		fmt.Sprintf("%x", d.key.Seed()), fmt.Sprintf("%v", d.key.Seed()), fmt.Sprintf("%x", d.identity.Seed()),
		fmt.Sprintf("%x", n.secret[:n.size]), fmt.Sprintf("%v", n.secret[:n.size]), n.Text(),
	}
	for i, f := range forbidden {
		forbidden[i] = strings.Trim(f, "[]")
	}
	forbidden = append(forbidden, "96,97,98,99") // the reach secret in JSON
	var out bytes.Buffer
	text, js := slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range []any{d.Reach(), d, n, ticket, struct{ S Secret }{d.Reach()}, []Network{n}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		text.Info("x", "v", v)
	}
	for _, v := range []any{d.Reach(), d, n, ticket} {
		js.Info("x", "v", v)
	}
	fmt.Fprintln(&out, d.Reach().String(), d.String(), n.String())
	for _, f := range forbidden {
		if strings.Contains(strings.ToLower(out.String()), f) {
			t.Errorf("a secret (%s) was printed:\n%s", f, out.String())
		}
	}
}
