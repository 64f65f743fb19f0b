// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The demo works, and writes what it says. It runs in fake time, so that a busy
// machine cannot be heard.
func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { testRun(t, options{seconds: 5}) })
}

// So it does where the punch comes through before the two have a link.
func TestRunEasy(t *testing.T) {
	needLong(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { testRun(t, options{seconds: 5, easy: true}) })
}

func testRun(t *testing.T, o options) {
	o.out = filepath.Join(t.TempDir(), "demo-out")
	var text bytes.Buffer
	err := run(t.Context(), o, &screen{w: &text}, nil)
	t.Logf("\n%s", text.String())
	if err == nil && !strings.Contains(text.String(), "the call is direct") {
		// A search among all ports may miss, and the caller may have spent its
		// packets on neighbours: then the call stays relayed for longer than the demo.
		text.Reset()
		err = run(t.Context(), o, &screen{w: &text}, nil)
		t.Logf("again:\n%s", text.String())
	}
	if err != nil && strings.Contains(err.Error(), "without a link between them") {
		t.Skip("in this network every such pair is linked already: nothing to show") // node keys are drawn anew
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"heard-a.ogg", "heard-b.ogg"} {
		if pcm, err := decode(fromFile(filepath.Join(o.out, name)), 0); err != nil || len(pcm) < 2*second {
			t.Errorf("%s: %d samples, %v", name, len(pcm), err)
		}
	}
	for _, want := range []string{
		"all 24 have joined", "no address in it", "relayed by node", "the call is direct", "talking  direct",
		"b hears a   heard: ", "a hears b   heard: ", "MOS",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the screen does not say %q", want)
		}
	}
	for line := range strings.Lines(text.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); strings.Contains(line, "talking") && n > 79 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	checkPicture(t, filepath.Join(o.out, "call.svg"), "the call is direct", "b answers", ">b hears<", "NAT box 46.")
	checkPicture(t, filepath.Join(o.out, "network.svg"), "direct: the boxes", "relayed by node", ">is called<", "8 symmetric", ">1<")
}

func checkPicture(t *testing.T, file string, wants ...string) {
	t.Helper()
	picture, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%s is not XML: %v", file, err)
		}
	}
	for _, want := range wants {
		if !bytes.Contains(picture, []byte(want)) {
			t.Errorf("the picture does not show %q", want)
		}
	}
	if bytes.Contains(picture, []byte("NaN")) || bytes.Contains(picture, []byte("Inf")) {
		t.Error("the picture has a length that is no number")
	}
}

// needLong skips what forms one more network of 24 nodes.
func needLong(t *testing.T) {
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("takes half a minute of a core: set P2POS_LONG=1")
	}
}

// Somebody who stops the demo does not wait for it.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { testInterrupt(t, "24 nodes") })
}

func TestInterruptTalking(t *testing.T) {
	needLong(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { testInterrupt(t, "talking") })
}

func testInterrupt(t *testing.T, at string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stop := writer(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte(at)) {
			cancel()
		}
		return len(b), nil
	})
	start := time.Now()
	if err := run(ctx, options{out: t.TempDir(), seconds: 60}, &screen{w: stop}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("stopped after %v", took)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestBadDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), options{out: file, seconds: 3}, &screen{w: io.Discard}, nil); err == nil {
		t.Error("wrote into a file as if it were a directory")
	}
}

// One ear that heard something else is enough to fail.
func TestJudge(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ear := func(name string, says, heard []byte) *party {
		p := newParty(name, nil, says, t.TempDir())
		if err := os.WriteFile(p.file, heard, 0o600); err != nil {
			t.Fatal(err)
		}
		m := &p.marks
		for _, at := range []*time.Time{&m.called, &m.placed, &m.incoming, &m.ringing, &m.answered, &m.media} {
			*at = now
		}
		p.speaks, p.hears = now, now
		return p
	}
	v := survey{a: &place{name: "a"}, b: &place{name: "b", class: symmetric}, find: func(string) int { return -1 }}
	v.places = []*place{v.a, v.b}
	for _, c := range []struct {
		atA, atB []byte
		want     string // in the error
	}{
		{speechB, speechA, ""},
		{speechB, speechB, "b did not hear what a said"},
		{speechA, speechA, "a did not hear what b said"},
		{speechB, speechA[:len(speechA)/3], "b"},
		{speechB, nil, "b heard cannot be decoded"},
	} {
		o := options{out: t.TempDir(), seconds: 3}
		err := judge(o, &screen{w: io.Discard}, ear("a", speechA, c.atA), ear("b", speechB, c.atB), v)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
