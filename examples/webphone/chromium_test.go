// SPDX-License-Identifier: 0BSD

package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// chromium is a real browser, driven over its debugging pipe: JSON messages that
// end with a zero byte, on file descriptors 3 and 4.
type chromium struct {
	t    *testing.T
	cmd  *exec.Cmd
	to   *os.File
	wg   sync.WaitGroup
	tab  string // session of the page
	logs []string

	mu    sync.Mutex // guards what follows
	next  int
	waits map[int]chan message
	ended bool
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// findChromium skips the test where there is none.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	t.Skip("no Chromium here (Debian: apt install chromium)")
	return ""
}

// browse opens a page in a browser of its own, with a microphone that beeps and
// a camera that shows a moving picture.
func browse(t *testing.T, url string) *chromium {
	t.Helper()
	program := findChromium(t)
	in, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &chromium{t: t, to: to, waits: make(map[int]chan message)}
	b.cmd = exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
		"--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	b.cmd.ExtraFiles = []*os.File{in, out}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	out.Close()
	b.wg.Go(func() { b.read(from) })
	t.Cleanup(b.close)
	var target struct{ TargetID, SessionID string }
	b.call("", "Target.createTarget", map[string]any{"url": url}, &target)
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	b.tab = target.SessionID
	b.call(b.tab, "Runtime.enable", nil, nil)
	return b
}

func (b *chromium) read(from *os.File) {
	defer from.Close()
	r := bufio.NewReader(from)
	for {
		line, err := r.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			b.ended = true
			for _, w := range b.waits {
				close(w)
			}
			b.waits = nil
			b.mu.Unlock()
			return
		}
		var m message
		if json.Unmarshal(line[:len(line)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if w := b.waits[m.ID]; w != nil {
			delete(b.waits, m.ID)
			w <- m
		} else if m.Method == "Runtime.exceptionThrown" || m.Method == "Runtime.consoleAPICalled" {
			b.logs = append(b.logs, string(m.Params))
		}
		b.mu.Unlock()
	}
}

// call runs a command of the protocol and waits for what it returns.
func (b *chromium) call(session, method string, params any, result any) {
	b.t.Helper()
	if err := b.try(session, method, params, result); err != nil {
		b.t.Fatalf("chromium: %s: %v; it said %v", method, err, b.logs)
	}
}

func (b *chromium) try(session, method string, params any, result any) error {
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		return errors.New("it has ended")
	}
	b.next++
	id, answer := b.next, make(chan message, 1)
	b.waits[id] = answer
	b.mu.Unlock()
	if params == nil {
		params = struct{}{}
	}
	m, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params, "sessionId": session})
	if err != nil {
		return err
	}
	if session == "" {
		m, _ = json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	}
	if _, err := b.to.Write(append(m, 0)); err != nil {
		return err
	}
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	select {
	case got, ok := <-answer:
		switch {
		case !ok:
			return errors.New("it has ended")
		case got.Error != nil:
			return errors.New(got.Error.Message)
		case result != nil:
			return json.Unmarshal(got.Result, result)
		}
		return nil
	case <-timer.C:
		return errors.New("no answer")
	}
}

// eval runs JavaScript in the page and returns what comes of it; promises are
// waited for.
func (b *chromium) eval(script string, result any) error {
	var r struct {
		Result struct {
			Value json.RawMessage
		}
		ExceptionDetails *struct {
			Exception struct{ Description string }
		}
	}
	if err := b.try(b.tab, "Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &r); err != nil {
		return err
	}
	if r.ExceptionDetails != nil {
		return errors.New(r.ExceptionDetails.Exception.Description)
	}
	if result == nil || len(r.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(r.Result.Value, result)
}

func (b *chromium) run(script string) {
	b.t.Helper()
	if err := b.eval(script, nil); err != nil {
		b.t.Fatalf("in the page: %s: %v; it said %v", script, err, b.logs)
	}
}

// until waits for an expression to be true in the page.
func (b *chromium) until(what, expression string) {
	b.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		var yes bool
		err := b.eval("Promise.resolve("+expression+").then(v => !!v)", &yes)
		if yes {
			return
		}
		if time.Now().After(deadline) {
			b.shoot("failed")
			b.t.Fatalf("never: %s (%s): %v; the page said %v", what, expression, err, b.logs)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// size makes the window a screen of so many pixels.
func (b *chromium) size(width, height int, phone bool) {
	b.t.Helper()
	b.call(b.tab, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}, nil)
}

// shoot writes a picture of the page into the folder that P2POS_SHOTS names.
func (b *chromium) shoot(name string) {
	dir := os.Getenv("P2POS_SHOTS")
	if dir == "" {
		return
	}
	var shot struct{ Data string }
	if err := b.try(b.tab, "Page.captureScreenshot", nil, &shot); err != nil {
		b.t.Log(err)
		return
	}
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Log(err)
	}
}

func (b *chromium) close() {
	b.try("", "Browser.close", nil, nil)
	done := make(chan error, 1)
	go func() { done <- b.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		b.cmd.Process.Kill()
		<-done
	}
	b.to.Close()
	b.wg.Wait()
}
