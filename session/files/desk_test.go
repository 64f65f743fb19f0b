// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSendFile(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		defer connect(a, b)()
		for i, size := range []int{0, 5, ChunkSize, 3*ChunkSize + 1} {
			want := content(size)
			out := a.send(b, a.file("a file.bin", want))
			in := b.offered()
			if in.Peer() != a.peer.ID || in.Offer().Name != "a file.bin" || in.Offer().Size != int64(size) {
				t.Errorf("%+v", in.Offer())
			}
			if files, _ := os.ReadDir(b.dir); len(files) != min(i, 1) {
				t.Errorf("written before it was accepted: %v", files)
			}
			if err := in.Accept(filepath.Join(b.dir, "in")); err != nil {
				t.Fatal(err)
			}
			ends(t, out, Complete)
			ends(t, in, Complete)
			name := "a file.bin"
			if i > 0 { // never over another
				name = fmt.Sprintf("a file (%d).bin", i+1)
			}
			arrived(t, in, name, want)
			if p, _ := in.Progress(); p.Done != int64(size) || p.Total != int64(size) {
				t.Errorf("%+v", p)
			}
			if st, _ := os.Stat(in.Path()); st.Mode().Perm() != 0o600 {
				t.Errorf("%v", st.Mode())
			}
		}
		if s := strings.Repeat("offered active complete ", 4); a.heard()+" " != s || b.heard()+" " != s {
			t.Errorf("a: %s\nb: %s", a.heard(), b.heard())
		}
		if len(a.desk.Transfers())+len(b.desk.Transfers()) != 0 {
			t.Error("something goes on")
		}
	})
}

// Whatever name is offered, the file lands in the directory.
func TestNamesStayInside(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		defer connect(a, b)()
		dir := filepath.Join(b.dir, "in")
		for offered, want := range map[string]string{"../../up": "up", "/etc/passwd": "passwd", "..": "file", ".hid": "hid", "a\nb": "ab", ".p2pos-x.part": "p2pos-x.part"} {
			a.send(b, a.file("x", []byte(offered)))
			in := b.offered()
			in.d.mu.Lock()
			in.saved.Offer.Name, in.recv.offer.Name = offered, offered
			in.d.mu.Unlock()
			if err := in.Accept(dir); err != nil {
				t.Fatal(err)
			}
			ends(t, in, Complete)
			arrived(t, in, want, []byte(offered))
			if filepath.Dir(in.Path()) != dir {
				t.Errorf("%s", in.Path())
			}
		}
	})
}

// Links in the directory lead nowhere.
func TestLinksStayInside(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		defer connect(a, b)()
		dir := filepath.Join(b.dir, "in")
		victim := b.file("victim", []byte("mine"))
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Symlink(victim, filepath.Join(dir, "x"))); err != nil {
			t.Skip(err)
		}
		a.send(b, a.file("x", []byte("theirs")))
		in := b.offered()
		if err := os.Symlink(victim, filepath.Join(dir, partName(in.ID()))); err != nil {
			t.Fatal(err)
		}
		if err := in.Accept(dir); err == nil {
			t.Error("written through a link")
		}
		os.Remove(filepath.Join(dir, partName(in.ID())))
		if err := in.Accept(dir); err != nil {
			t.Fatal(err)
		}
		ends(t, in, Complete)
		arrived(t, in, "x (2)", []byte("theirs"))
		if got, _ := os.ReadFile(victim); string(got) != "mine" {
			t.Errorf("%q", got)
		}
	})
}

func TestDeclineAndCancel(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		defer connect(a, b)()
		path := a.file("x", content(40*ChunkSize))
		out := a.send(b, path)
		in := b.offered()
		if err := in.Decline(); err != nil {
			t.Fatal(err)
		}
		ends(t, out, Declined)
		for _, err := range []error{in.Decline(), in.Accept(b.dir), in.Pause(), in.Continue(), in.Cancel(), out.Cancel()} {
			if !errors.Is(err, ErrState) {
				t.Errorf("after the end: %v", err)
			}
		}
		// The sender takes an offer back.
		out = a.send(b, path)
		in = b.offered()
		if err := in.Pause(); !errors.Is(err, ErrState) {
			t.Errorf("pause before it is accepted: %v", err)
		}
		out.Cancel()
		ends(t, in, Cancelled)
		// Either side gives up in the middle; what came is removed.
		for _, who := range []string{"sender", "receiver"} {
			out = a.send(b, path)
			in = b.offered()
			if err := in.Accept(b.dir); err != nil {
				t.Fatal(err)
			}
			x, y := out, in
			if who == "receiver" {
				x, y = in, out
			}
			if err := x.Cancel(); err != nil {
				t.Fatal(err)
			}
			ends(t, y, Cancelled)
			if files, _ := os.ReadDir(b.dir); len(files) != 0 {
				t.Errorf("%s: left behind: %v", who, files)
			}
		}
	})
}

// Sessions that come and go, streams that break, and starts of either side
// anew, in the middle of the file.
func TestResume(t *testing.T) {
	for _, c := range []struct {
		what    string
		trouble func(a, b *party)
	}{
		{"session", func(a, b *party) {}},
		{"sender", func(a, b *party) { a.restart() }},
		{"receiver", func(a, b *party) { b.restart() }},
		{"both", func(a, b *party) { a.restart(); b.restart() }},
	} {
		t.Run(c.what, func(t *testing.T) {
			bubble(t, func(t *testing.T, a, b *party) {
				want := content(30*ChunkSize + 5)
				x := a.send(b, a.file("x", want))
				disconnect := connect(a, b)
				in := b.offered()
				if err := in.Accept(b.dir); err != nil {
					t.Fatal(err)
				}
				for round := range 6 {
					disconnect()
					c.trouble(a, b)
					time.Sleep(time.Second)
					x, y := &cord{from: a, to: b, cut: (round + 1) * ChunkSize}, &cord{from: b, to: a, cut: 2000}
					x.other, y.other = y, x
					a.desk.Up(b.peer, x)
					b.desk.Up(a.peer, y)
					disconnect = func() {
						x.close()
						y.close()
						a.desk.Down(b.peer, x)
						b.desk.Down(a.peer, y)
					}
					time.Sleep(200 * time.Millisecond)
				}
				disconnect()
				disconnect = connect(a, b)
				defer func() { disconnect() }()
				out, in := a.desk.Find(x.ID()), b.desk.Find(x.ID())
				ends(t, out, Complete)
				ends(t, in, Complete)
				arrived(t, in, "x", want)
				// What has ended stays ended, and is answered after a start.
				disconnect()
				a.restart()
				b.restart()
				a.desk.mu.Lock()
				s := a.desk.byID[x.ID()].saved
				a.desk.mu.Unlock()
				s.Reason, s.Ended = 0, time.Time{} // as if the END had been lost
				a.book.Save(s)
				a.restart()
				disconnect = connect(a, b)
				ends(t, a.desk.Find(x.ID()), Complete)
				if files, _ := os.ReadDir(b.dir); len(files) != 1 {
					t.Errorf("doubled: %v", files)
				}
			})
		})
	}
}

// A pause of either side holds through sessions and starts.
func TestPause(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		want := content(60 * ChunkSize)
		disconnect := connect(a, b)
		out := a.send(b, a.file("x", want))
		in := b.offered()
		if err := out.Pause(); err != nil {
			t.Fatal(err)
		}
		if err := in.Accept(b.dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		is := func(x *Transfer, want State) {
			t.Helper()
			synctest.Wait()
			if s, r := x.State(); s != want {
				t.Errorf("%v %v, want %v", s, r, want)
			}
		}
		is(out, Paused)
		is(in, Paused)
		if p, _ := in.Progress(); p.Done != 0 || p.Speed != 0 {
			t.Errorf("%+v", p)
		}
		disconnect()
		a.restart()
		b.restart()
		out, in = a.desk.Find(out.ID()), b.desk.Find(in.ID())
		if list := a.desk.Absent(); len(list) != 0 {
			t.Errorf("a paused transfer needs %v", list)
		}
		disconnect = connect(a, b)
		defer func() { disconnect() }()
		time.Sleep(time.Minute)
		is(out, Paused)
		in.Pause()
		out.Continue()
		time.Sleep(time.Minute)
		is(in, Paused)
		is(out, Paused)
		in.Continue()
		ends(t, in, Complete)
		arrived(t, in, "x", want)
	})
}

// Many at once, in both directions.
func TestMany(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		defer connect(a, b)()
		var outs []*Transfer
		for i := range 10 {
			outs = append(outs, a.send(b, a.file(fmt.Sprint("a", i), content(i*ChunkSize))), b.send(a, b.file(fmt.Sprint("b", i), content(i*50_000))))
		}
		synctest.Wait()
		var ins []*Transfer
		for _, p := range []*party{a, b} {
			for _, x := range p.desk.Transfers() {
				if x.Incoming() {
					if err := x.Accept(filepath.Join(p.dir, "in")); err != nil {
						t.Fatal(err)
					}
					ins = append(ins, x)
				}
			}
		}
		if len(ins) != 20 {
			t.Fatalf("%d offers", len(ins))
		}
		for _, x := range append(outs, ins...) {
			ends(t, x, Complete)
		}
	})
}

// A small file does not wait for a large one.
func TestSmallBesideLarge(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		defer connect(a, b)()
		large := a.send(b, a.file("large", content(60*ChunkSize)))
		if err := b.offered().Accept(b.dir); err != nil {
			t.Fatal(err)
		}
		small := a.send(b, a.file("small", content(1000)))
		for {
			var in *Transfer
			for _, x := range b.desk.Transfers() {
				if x.Offer().Name == "small" {
					in = x
				}
			}
			if in != nil {
				if err := in.Accept(b.dir); err != nil {
					t.Fatal(err)
				}
				break
			}
			synctest.Wait()
		}
		ends(t, small, Complete)
		ends(t, large, Complete)
	})
}

func TestSendErrors(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		for path, want := range map[string]error{
			filepath.Join(a.dir, "none"): fs.ErrNotExist,
			a.dir:                        ErrNotRegular,
			"/dev/null":                  ErrNotRegular,
		} {
			if _, err := a.desk.Send(t.Context(), b.peer.ID, path); !errors.Is(err, want) {
				t.Errorf("%s: %v", path, err)
			}
		}
		a.book.fail = errors.New("disk full")
		if _, err := a.desk.Send(t.Context(), b.peer.ID, a.file("x", nil)); err != a.book.fail {
			t.Errorf("%v", err)
		}
		a.book.fail = nil
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := a.desk.Send(ctx, b.peer.ID, a.file("x", nil)); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		a.desk.Close()
		if _, err := a.desk.Send(t.Context(), b.peer.ID, a.file("x", nil)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
		a.start()
	})
}

// A file that is changed or gone, while it is sent or between two starts.
func TestChangedFile(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		disconnect := connect(a, b)
		path := a.file("x", content(60*ChunkSize))
		out := a.send(b, path)
		in := b.offered()
		a.file("x", content(60 * ChunkSize)[1:])
		in.Accept(b.dir)
		ends(t, in, Changed)
		ends(t, out, Changed)
		if !strings.Contains(out.Why(), "changed") {
			t.Errorf("%q", out.Why())
		}
		out = a.send(b, path)
		b.offered()
		disconnect()
		a.file("x", []byte("other"))
		a.restart()
		ends(t, a.desk.Find(out.ID()), Changed)
		out = a.send(b, path)
		os.Remove(path)
		a.restart()
		ends(t, a.desk.Find(out.ID()), Unreadable)
		if files, _ := os.ReadDir(b.dir); len(files) != 0 {
			t.Errorf("%v", files)
		}
		connect(a, b)
	})
}

// What the offer says of the whole is checked as well: a sender may lie there
// though each chunk fits.
func TestFalseSHA(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		defer connect(a, b)()
		out := a.send(b, a.file("x", content(3*ChunkSize)))
		in := b.offered()
		in.d.mu.Lock()
		in.saved.Offer.SHA256[0] ^= 1
		in.recv.offer.SHA256[0] ^= 1
		in.d.mu.Unlock()
		in.Accept(b.dir)
		ends(t, in, Wrong)
		ends(t, out, Wrong)
		if files, _ := os.ReadDir(b.dir); len(files) != 0 || !strings.Contains(in.Why(), "not what was offered") {
			t.Errorf("%v, %q", files, in.Why())
		}
	})
}

// The offer goes to every device; the first that takes it has it.
func TestTwoDevices(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		c := newParty(t, 2)
		c.peer.Device[5] = 9
		defer connect(a, b)()
		defer connect(a, c)()
		want := content(5 * ChunkSize)
		out := a.send(b, a.file("x", want))
		inB, inC := b.offered(), c.offered()
		if err := inC.Accept(c.dir); err != nil {
			t.Fatal(err)
		}
		ends(t, inB, Elsewhere)
		ends(t, inC, Complete)
		ends(t, out, Complete)
		arrived(t, inC, "x", want)
	})
}

// Who offers too much gets END, and the rest stays as it is.
func TestTooManyOffers(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		defer connect(a, b)()
		path := a.file("x", []byte("x"))
		for range maxUnfinished {
			a.send(b, path)
		}
		last := a.send(b, path)
		ends(t, last, TooMany)
		if n := len(b.desk.Transfers()); n != maxUnfinished {
			t.Errorf("%d offers", n)
		}
	})
}

// Another person's device can't touch a transfer, whatever it knows of it.
func TestForeignTransfer(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *party) {
		c := newParty(t, 3)
		defer connect(a, b)()
		a.send(b, a.file("x", content(100)))
		in := b.offered()
		x := &cord{from: c, to: b}
		y := &cord{from: b, to: c, other: x}
		x.other = y
		b.desk.Up(c.peer, y)
		s, err := x.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.Write(appendMessage(nil, message{kind: kindEnd, id: in.ID(), reason: Cancelled}))
		synctest.Wait()
		if st, _ := in.State(); st != Offered {
			t.Errorf("%v", st)
		}
		x.close()
		y.close()
	})
}
