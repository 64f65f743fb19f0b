// SPDX-License-Identifier: 0BSD

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// start runs a webphone and returns its page's address.
func start(t *testing.T, name string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	url, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"-dir", t.TempDir(), "-name", name, "-listen", "127.0.0.1:0", "-nolan"}, func(u string) { url <- u })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case u := <-url:
		return u
	case err := <-done:
		done <- err
		t.Fatal(err)
		return ""
	}
}

// The page is there for the browser of this computer and the API for who has
// the token; what the Door refuses besides is tested with it.
func TestPage(t *testing.T) {
	url := start(t, "anna")
	base, token, _ := strings.Cut(url, "#")
	ask := func(method, path, bearer, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if path == "api/state" { // it goes on for ever
			line, _ := bufio.NewReader(resp.Body).ReadString('\n')
			return resp.StatusCode, line
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, c := range []struct {
		method, path, bearer, body string
		code                       int
		want                       string
	}{
		{"GET", "", "", "", 200, "phone.js"},
		{"GET", "phone.js", "", "", 200, "RTCPeerConnection"},
		{"GET", "style.css", "", "", 200, "--accent"},
		{"GET", "main.go", "", "", 404, ""},
		{"GET", "api/state", "", "", 401, "token"},
		{"POST", "api/call", "", "{}", 401, "token"},
		{"POST", "api/call", token, `{"to":"nonsense"}`, 400, "not an ID"},
		{"POST", "api/call", token, `not JSON`, 400, "invalid"},
		{"POST", "api/edge", token, `{"sdp":"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\n"}`, 400, "data channels"},
		{"POST", "api/hangup", token, `{"call":"1"}`, 400, "over"},
		{"POST", "api/nothing", token, `{}`, 404, ""},
	} {
		code, body := ask(c.method, c.path, c.bearer, c.body)
		if code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %q", c.method, c.path, code, body)
		}
	}
	code, line := ask("GET", "api/state", token, "")
	var s state
	if err := json.Unmarshal([]byte(line), &s); code != 200 || err != nil || !strings.HasPrefix(s.Ticket, "p2pos:") || s.People == nil || s.Calls == nil {
		t.Errorf("state: %d, %v, %s", code, err, line)
	}
}

// hears is true in a page that hears a tone: the fake microphone beeps each
// second, and an analyser on the remote sound sees it above silence.
const hears = `(async () => {
  const t = remote.getAudioTracks()[0]
  if (!t) return false
  window.ear ||= new AudioContext()
  if (!window.probe || probe.track !== t) {
    const source = ear.createMediaStreamSource(new MediaStream([t])), a = ear.createAnalyser()
    source.connect(a)
    window.probe = { track: t, a, loud: 0 }
  }
  await ear.resume()
  const b = new Float32Array(probe.a.fftSize)
  probe.a.getFloatTimeDomainData(b)
  probe.loud = Math.max(probe.loud, ...b.map(Math.abs))
  return probe.loud > 0.02
})()`

// sees is true in a page whose remote picture is Chromium's fake camera, and
// moves: there is green in it, and some pixels change from one look to the next.
const sees = `(async () => {
  const v = document.getElementById('remote')
  if (!v.videoWidth) return false
  const look = () => {
    const c = new OffscreenCanvas(160, 120), x = c.getContext('2d')
    x.drawImage(v, 0, 0, 160, 120)
    return x.getImageData(0, 0, 160, 120).data
  }
  const a = look()
  await new Promise(ok => setTimeout(ok, 300))
  const b = look()
  let moved = 0, green = 0
  for (let i = 0; i < a.length; i += 4) {
    if (Math.abs(a[i] - b[i]) + Math.abs(a[i+1] - b[i+1]) + Math.abs(a[i+2] - b[i+2]) > 60) moved++
    if (b[i+1] > 100 && b[i+1] > b[i] + 30 && b[i+1] > b[i+2] + 30) green++
  }
  window.looked = { moved, green }
  return moved > 20 && green > 1000
})()`

// Two people with real browsers: both hear the other's tone and see the other's
// picture move.
func TestChromiumCallsChromium(t *testing.T) {
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("starts two browsers: P2POS_LONG=1 runs it")
	}
	anna, ben := browse(t, start(t, "Anna")), browse(t, start(t, "Ben"))
	for _, b := range []*chromium{anna, ben} {
		b.size(1280, 800, false)
		b.until("a ticket in the page", "state.ticket")
		var left string
		if err := b.eval("location.hash + document.title", &left); err != nil || left != "P2P OS phone" {
			t.Errorf("the token is still in the address: %q, %v", left, err)
		}
	}
	var ticket string
	if err := ben.eval("state.ticket", &ticket); err != nil {
		t.Fatal(err)
	}
	anna.shoot("home")
	anna.run("document.getElementById('to').value = " + jsString(ticket) + "; window.prompt = () => 'Ben'; document.getElementById('add').click()")
	anna.until("Ben is among the people", "state.people.length === 1 && document.querySelector('#people .text span').textContent === 'Ben'")
	anna.size(390, 844, true)
	anna.shoot("home-phone")
	anna.size(1280, 800, false)

	started := time.Now()
	anna.run("[...document.querySelectorAll('#people button')].find(b => b.textContent === 'Video').click()")
	ben.until("it rings", "document.getElementById('ring').open")
	ben.until("as a video call of Anna's", "document.getElementById('ringWho').textContent === 'Anna' && !document.getElementById('answerVideo').hidden")
	ben.shoot("ring")
	answered := time.Now()
	ben.run("document.getElementById('answerVideo').click()")
	for name, b := range map[string]*chromium{"anna": anna, "ben": ben} {
		b.until(name+" hears the other's tone", hears)
		t.Logf("%s hears %v after the answer", name, time.Since(answered).Round(10*time.Millisecond))
	}
	for name, b := range map[string]*chromium{"anna": anna, "ben": ben} {
		b.until(name+" sees the other's picture move", sees)
		t.Logf("%s sees %v after the answer", name, time.Since(answered).Round(10*time.Millisecond))
	}
	t.Logf("%v from the call to all of it", time.Since(started).Round(10*time.Millisecond))
	anna.until("Ben by his name", "document.getElementById('who').textContent === 'Ben'")
	anna.until("words to compare", "current().words.length === 4 && !document.getElementById('words').hidden")
	anna.until("a line about quality", "/ms .* lost/.test(document.getElementById('quality').textContent)")
	var words [2]string
	for i, b := range []*chromium{anna, ben} {
		if err := b.eval("document.getElementById('list').textContent", &words[i]); err != nil {
			t.Fatal(err)
		}
	}
	if words[0] != words[1] || words[0] == "" {
		t.Errorf("the words are %q and %q", words[0], words[1])
	}
	// A picture that is worth looking at.
	anna.until("a picture of some size", "document.getElementById('remote').videoWidth >= 160")
	anna.until("a score", "current().mos > 1")
	anna.run("document.getElementById('words').open = true")
	anna.shoot("call")
	anna.run("document.getElementById('verify').click()")
	anna.until("Ben is verified", "!document.getElementById('mark').hidden && document.getElementById('words').hidden")
	ben.size(390, 844, true)
	ben.shoot("call-phone")
	ben.size(1280, 800, false)

	ben.run("document.getElementById('camera').click()")
	anna.until("the picture goes when the camera does", "!document.getElementById('remote').classList.contains('live')")
	anna.shoot("call-voice")
	ben.run("document.getElementById('camera').click()")
	anna.until("and comes back", sees)

	anna.run("document.getElementById('hold').click()")
	ben.until("held", "/hold/.test(document.getElementById('quality').textContent)")
	anna.run("document.getElementById('hold').click()")
	ben.until("and resumed", "/ms/.test(document.getElementById('quality').textContent)")
	ben.run("delete window.probe")
	ben.until("heard again", hears)
	ben.until("seen again", sees)

	ben.run("document.getElementById('mute').click()")
	anna.until("muted", "(async () => { if (await ("+hears+") && window.probe) { const old = probe; await new Promise(ok => setTimeout(ok, 1500)); old.loud = 0; await new Promise(ok => setTimeout(ok, 1500)); for (let i = 0; i < 20; i++) { await ("+hears+"); await new Promise(ok => setTimeout(ok, 60)) } return old.loud < 0.005 } })()")
	anna.run("document.getElementById('hangup').click()")
	for _, b := range []*chromium{anna, ben} {
		b.until("hung up", "state.calls.length === 0 && document.getElementById('stage').hidden && !pc && !cam")
	}
	anna.until("in the history", "state.history.length === 1")
	anna.shoot("after")
	anna.call(anna.tab, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": "dark"}}}, nil)
	anna.shoot("dark")
}

func jsString(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
