// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media/ogg"
)

// once runs a phone that cannot start, or has no reason to.
func once(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(""), &out, &errs, nil)
	return code, out.String(), errs.String()
}

func TestBadFlags(t *testing.T) {
	for _, args := range [][]string{
		{"-nonsense"},
		{"-json", "call", "somebody"},
		{"-listen", "nowhere"},
		{"-listen", "127.0.0.1:70000"},
		{"-tcp", "443"},
		{"-join", "p2pos:oops"},
		{"-join", "justahost"},
		{"-stun", "justahost"},
		{"-network", "swordfish"},
		{"-network", ""},
		{"-new-network", ""},
		{"-new-network", "a:b"},
		{"-relay=perhaps"},
		{"-dir"},
	} {
		code, out, errs := once(t, args...)
		if code != 2 || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "softphone: ") {
			t.Errorf("%q: exit %d, stdout %q, stderr %q", args, code, out, errs)
		}
	}
}

func TestHelp(t *testing.T) {
	code, out, errs := once(t, "-help")
	if code != 0 || errs != "" || !strings.Contains(out, "-new-network NAME") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	for line := range strings.Lines(out) {
		if len([]rune(line)) > 81 {
			t.Errorf("too wide for a terminal: %s", line)
		}
	}
}

func TestNewNetwork(t *testing.T) {
	code, out, errs := once(t, "-new-network", "acme")
	if code != 0 || errs != "" {
		t.Fatalf("exit %d, %q", code, errs)
	}
	n, err := identity.ParseNetwork(out)
	if err != nil || n.Name != "acme" {
		t.Errorf("%q: %v, %v", out, n, err)
	}
	_, again, _ := once(t, "-new-network", "acme")
	if again == out {
		t.Error("the same secret twice")
	}
}

// Phones of two networks don't meet, those of one do.
func TestNetworks(t *testing.T) {
	t.Parallel()
	_, secret, _ := once(t, "-new-network", "acme")
	secret = strings.TrimSpace(secret)
	b := start(t, "-network", secret)
	ticket := b.ticket()
	stranger := start(t)
	stranger.say("call %s", ticket)
	if e := stranger.wait("error"); !strings.Contains(e["message"].(string), "network") {
		t.Error(e)
	}
	friend := start(t, "-network", secret)
	friend.say("call %s", ticket)
	b.wait("incoming")
}

func TestCannotStart(t *testing.T) {
	dir := t.TempDir()
	damaged := bytes.Clone(tone)
	damaged[len(damaged)/2] ^= 1
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	key := filepath.Join(dir, "broken-key")
	if err := os.Mkdir(key, 0o700); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := stopped(t, "-dir", key, "-listen", "127.0.0.1:0"); code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	files, err := os.ReadDir(key)
	if err != nil || len(files) == 0 {
		t.Fatal("no key store", err)
	}
	for _, f := range files {
		write(filepath.Join("broken-key", f.Name()), []byte("rubbish"))
	}
	for _, args := range [][]string{
		{"-play", filepath.Join(dir, "none.ogg")},
		{"-play", write("text.ogg", []byte("not a sound"))},
		{"-play", write("empty.ogg", nil)},
		{"-play", write("damaged.ogg", damaged)},
		{"-play", write("cut.ogg", tone[:len(tone)-100])},
		{"-play", dir},
		{"-record", filepath.Join(dir, "none", "x.ogg")},
		{"-record", dir},
		{"-listen", taken.LocalAddr().String()},
		{"-name", strings.Repeat("n", 65)},
		{"-dir", key},
		{"-dir", write("file", nil)},
	} {
		code, out, errs := once(t, append([]string{"-json", "-dir", filepath.Join(dir, "id")}, args...)...)
		if code != 1 || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "softphone: ") {
			t.Errorf("%q: exit %d, stdout %q, stderr %q", args, code, out, errs)
		}
		t.Log(errs)
	}
}

// stopped runs a phone that is told to quit at once.
func stopped(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader("help\nticket\nnat\nstatus\npeers\nnonsense\nquit\n"), &out, &errs, nil)
	return code, out.String(), errs.String()
}

// Without -json there are lines for people.
func TestText(t *testing.T) {
	code, out, errs := stopped(t, "-dir", t.TempDir(), "-listen", "127.0.0.1:0")
	if code != 0 || errs != "" {
		t.Errorf("exit %d: %s", code, errs)
	}
	for _, want := range []string{"your ID is", "\np2pos:", "hangup ", "NAT: not known yet", "0 linked nodes", "nonsense: unknown command"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "{") {
		t.Errorf("not for people:\n%s", out)
	}
}

// packets reads a recording, and holds it to be sound.
func packets(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := ogg.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		if _, err := r.Next(); err == io.EOF {
			return n
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestShelf(t *testing.T) {
	s := shelf{file: filepath.Join("dir.x", "call.ogg")}
	for _, want := range []string{"call.ogg", "call-2.ogg", "call-3.ogg"} {
		if got := s.next(); got != filepath.Join("dir.x", want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A reader that stands still loses statistics first, and in the end the phone.
func TestPrinterBacklog(t *testing.T) {
	gate := make(chan struct{})
	var got bytes.Buffer
	p := newPrinter(writer(func(b []byte) (int, error) { <-gate; return got.Write(b) }), true, time.Now())
	for range 10 * maxLines {
		if err := p.emit(statsEvent{}); err != nil {
			t.Fatal("statistics filled the queue")
		}
	}
	var err error
	for range 2 * maxLines {
		if err = p.emit(joinedEvent{}); err != nil {
			break
		}
	}
	if !errors.Is(err, errNobodyReads) {
		t.Errorf("a full queue gives %v", err)
	}
	close(gate)
	if err := p.close(patience); err != nil {
		t.Error(err)
	}
	if n := strings.Count(got.String(), "\n"); n < maxLines {
		t.Errorf("%d lines were written", n)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// The tone is the project's own.
func TestTone(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("..", "..", "media", "testdata", "tone.ogg"))
	if err != nil || !bytes.Equal(tone, want) {
		t.Errorf("tone.ogg differs from media/testdata: %v", err)
	}
	if err := checkSound(bytes.NewReader(tone)); err != nil {
		t.Error(err)
	}
}
