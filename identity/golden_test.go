// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"
)

// golden values were checked once with an independent implementation.
const (
	goldenID     = "00x10yzz7kggqreq1q8rwx5w16vatb7wkb316x51nfhvq46cg95acdrbyk"
	goldenTicket = "p2pos:040g0803m43vzwye22z1tw6x33kmqg4sczjdcc4vmm6ny7ewgsj14n9hq0100430c5h66s35cskpgtbaddp6tvkf0c008b7r6dag80040749dbr500d0dg00083h2m8j400gve0000000000000000000w8n21g00w3cccv414dng1r0040wbhbmkc"
)

// now is the time in all tests of this package.
var now = time.Date(2026, 11, 22, 20, 30, 15, 0, time.UTC)

// seed returns n bytes that count up from first.
func seed(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// testDevice returns a device all of whose keys are fixed.
func testDevice(t testing.TB, at time.Time, name string) *Device {
	t.Helper()
	sealing, err := ecdh.X25519().NewPrivateKey(seed(64, 32))
	if err != nil {
		t.Fatal(err)
	}
	d := &Device{
		identity: ed25519.NewKeyFromSeed(seed(0, 32)),
		key:      ed25519.NewKeyFromSeed(seed(32, 32)),
		sealing:  sealing,
		reach:    Secret(seed(96, 16)),
		reset:    [32]byte(seed(112, 32)),
	}
	d.id = ID(d.identity.Public().(ed25519.PublicKey))
	if err := d.certify(at, name); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestGoldenID(t *testing.T) {
	d := testDevice(t, now, "")
	if got := d.ID().String(); got != goldenID {
		t.Errorf("ID is %s, want %s", got, goldenID)
	}
	if id, err := ParseID(goldenID); err != nil || id != d.ID() {
		t.Errorf("ParseID = %v, %v", id, err)
	}
}

func TestGoldenDerived(t *testing.T) {
	d := testDevice(t, now, "desk")
	network := Network{Name: "acme", secret: [32]byte(append(seed(1, 16), make([]byte, 16)...)), size: 16}
	for _, c := range []struct{ what, got, want string }{
		{"node ID", NodeIDOf(d.Key().Public().(ed25519.PublicKey)).String(), "3f9077644631a51a0a5711a399a240cada55846f8bc2ec3d8bbf8b18089ba4db"},
		{"reach tag", fmt.Sprintf("%x", ReachTag(d.Reach(), d.ID(), 498000)), "279bd4b4c724f167c63c409244225590"},
		{"device ID", DeviceText(d.Certificate().DeviceID()), "24f6ed6acbfe1009c030d7ca567c33ca"},
		{"signature", fmt.Sprintf("%x", Sign(d.Key(), "p2pos test v1", []byte("hello"))), "2227917f4a077c6c742243bcbe29c9e812c25918f09980825bed0f4311292dfdd1cfeab2ac0bd569ddbd15bffb6929630ff70c425cffd0c0e683ed71ee22c602"},
		{"network text", network.Text(), "p2posnet:acme:040g40r40m30e209185gr38e1w82h6qb78"},
		{"network key", fmt.Sprintf("%x", network.Key()), "09537b8450d0746399d300c3eb96b1da158f77250fd5120dac5931559ee8f7be"},
		{"network tag", fmt.Sprintf("%x", network.Tag()), "2cf83355"},
		{"public network tag", fmt.Sprintf("%x", Network{}.Tag()), "218ff4bb"},
		{"certificate", fmt.Sprintf("%x", d.Certificate().Raw()), "0101002003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b802002029acbae141bccaf0b22e1a94d34d0bc7361e526d0bfe12c89794bc9322966dd7030010000000006b0350d7000000006b79f7d704002079a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a0500046465736b23a7f3ef5be8827ed6712828014de62a5f38742040aaec49580db1e939ad0870258aa5cadc1e7ebfb826ebb98d21a36b381c84109b89fc8573c63f17b5edf203"},
	} {
		if c.got != c.want {
			t.Errorf("%s is\n%s, want\n%s", c.what, c.got, c.want)
		}
	}
}

// Boxes made by this version must open in every later one.
func TestGoldenBoxes(t *testing.T) {
	d := testDevice(t, now, "")
	plain, err := d.Unseal([]byte("p2pos test v1"), unhex(t, "a23ab09867667b043f23465625891028cd93262f8342f4c076ec4f6181e5c84d6aeca5ee4653cbbe4276e6bc05f6c9ef49e365512f"))
	if err != nil || !bytes.Equal(plain, []byte("hello")) {
		t.Errorf("Unseal = %q, %v", plain, err)
	}
	plain, err = OpenSecret([32]byte(seed(7, 32)), []byte("aad"), unhex(t, "ab54f50a7a56a569731c812a0271e88a5bbe7b593562ff77185c515babbbbdb637fc6338f512204b905502e8ca"))
	if err != nil || !bytes.Equal(plain, []byte("hello")) {
		t.Errorf("OpenSecret = %q, %v", plain, err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	var b []byte
	if _, err := fmt.Sscanf(s, "%x", &b); err != nil {
		t.Fatal(err)
	}
	return b
}
