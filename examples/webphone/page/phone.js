// SPDX-License-Identifier: 0BSD
'use strict'

// The token stands behind the # of the address, which no server sees. It is
// kept for reloads of this tab and taken out of sight.
const token = location.hash.slice(1) || sessionStorage.getItem('token') || ''
if (location.hash) {
  sessionStorage.setItem('token', token)
  history.replaceState(null, '', location.pathname)
}

const $ = id => document.getElementById(id)
let state = { calls: [], people: [], history: [] }

// ---- talking to the program

const headers = { Authorization: 'Bearer ' + token }

async function api(command, body) {
  const r = await fetch('/api/' + command, { method: 'POST', headers, body: JSON.stringify(body || {}) })
  if (!r.ok) throw new Error((await r.text()).trim())
  return r.json()
}

async function listen() {
  for (;;) {
    try {
      const r = await fetch('/api/state', { headers })
      if (!r.ok) throw new Error((await r.text()).trim())
      let rest = ''
      for (const reader = r.body.pipeThrough(new TextDecoderStream()).getReader(); ;) {
        const { value, done } = await reader.read()
        if (done) break
        const lines = (rest + value).split('\n')
        rest = lines.pop()
        if (lines.length) show(JSON.parse(lines.at(-1)))
      }
    } catch (e) {
      say(e instanceof TypeError ? 'The program on this computer does not answer.' : e.message)
    }
    await new Promise(ok => setTimeout(ok, 1000))
  }
}

// attempt runs what a button does, and tells what goes wrong.
const attempt = f => async event => {
  event?.preventDefault()
  const b = event?.submitter || event?.currentTarget
  if (b) b.disabled = true
  try { await f(event) } catch (e) { say(e.message) }
  if (b) b.disabled = false
}

let toastTimer
function say(text) {
  $('toast').textContent = text
  $('toast').hidden = false
  clearTimeout(toastTimer)
  toastTimer = setTimeout(() => { $('toast').hidden = true }, 6000)
}

// ---- microphone, camera, and the way to the program

let pc, mic, cam, eye // eye sends the camera
let remote = new MediaStream()

async function connect() {
  if (pc && !['failed', 'closed'].includes(pc.connectionState)) return
  disconnect()
  const p = pc = new RTCPeerConnection()
  remote = new MediaStream()
  $('remote').srcObject = remote
  p.ontrack = e => remote.addTrack(e.track)
  p.onconnectionstatechange = () => { if (p.connectionState === 'failed' && p === pc) attempt(connect)() }
  try {
    mic = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true } })
    p.addTrack(mic.getAudioTracks()[0], mic)
  } catch (e) {
    say('No microphone: ' + e.message)
    p.addTransceiver('audio', { direction: 'recvonly' })
  }
  eye = p.addTransceiver('video', { direction: 'sendrecv' }).sender
  await p.setLocalDescription()
  const { sdp } = await api('edge', { sdp: p.localDescription.sdp })
  await p.setRemoteDescription({ type: 'answer', sdp })
  if (cam) await eye.replaceTrack(cam.getVideoTracks()[0])
}

function disconnect() {
  pc?.close()
  mic?.getTracks().forEach(t => t.stop())
  pc = mic = eye = undefined
}

async function camera(on) {
  if (on && !cam) {
    cam = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } } })
    $('self').srcObject = cam
    await eye?.replaceTrack(cam.getVideoTracks()[0])
  } else if (!on && cam) {
    await eye?.replaceTrack(null)
    cam.getTracks().forEach(t => t.stop())
    cam = undefined
    $('self').srcObject = null
  }
  draw()
}

// A camera that is off sends nothing: the picture is there while frames come.
let framed = -Infinity
const lively = () => performance.now() - framed < 1500
$('remote').requestVideoFrameCallback(function seen() {
  framed = performance.now()
  $('remote').requestVideoFrameCallback(seen)
})
setInterval(() => $('remote').classList.toggle('live', lively()), 250)

// tune holds the encoders to what the network carries.
let tuned
async function tune(sound) {
  const sender = pc?.getSenders().find(s => s.track?.kind === 'audio')
  if (!sender || tuned === sound) return
  const p = sender.getParameters()
  if (!p.encodings?.length) return
  p.encodings[0].maxBitrate = sound
  tuned = sound
  await sender.setParameters(p)
}

// ---- what the buttons do

async function call(to, video) {
  if (!to.trim()) return say('Paste a ticket or an ID first.')
  await camera(video)
  await connect()
  await api('call', { to: to.trim(), video: true }) // a camera can be switched on later
  $('to').value = ''
}

async function answer(id, video) {
  if (video) await camera(true)
  await connect()
  await api('answer', { call: id })
}

const current = () => state.calls.find(c => c.id === state.talk) || state.calls.find(c => c.phase === 'talks') || state.calls.find(c => c.phase === 'rings')
const ringing = () => state.calls.find(c => c.phase === 'incoming')

$('dial').onsubmit = attempt(() => call($('to').value, false))
$('callVideo').onclick = attempt(() => call($('to').value, true))
$('add').onclick = attempt(async () => {
  const who = $('to').value.trim()
  if (!who) return say('Paste a ticket or an ID first.')
  const name = prompt('What do you call this person?')
  if (name === null) return
  await api('add', { to: who, name })
  $('to').value = ''
})
$('copy').onclick = attempt(async () => { await navigator.clipboard.writeText(state.ticket); say('Copied.') })
$('answerVoice').onclick = attempt(() => answer(ringing().id, false))
$('answerVideo').onclick = attempt(() => answer(ringing().id, true))
$('reject').onclick = attempt(() => api('reject', { call: ringing().id }))
$('hangup').onclick = attempt(() => api('hangup', { call: current().id }))
$('hold').onclick = attempt(() => api('hold', { call: current().id, on: !current().held }))
$('verify').onclick = attempt(async () => {
  const c = current()
  await api('add', { to: c.peer, name: '' })
  await api('verify', { id: c.peer, on: true })
  $('words').open = false
})
let muted = false
$('mute').onclick = attempt(async () => {
  muted = !muted
  mic?.getAudioTracks().forEach(t => { t.enabled = !muted })
  await api('mute', { call: current().id, on: muted })
  draw()
})
$('camera').onclick = attempt(() => camera(!cam))
$('ring').oncancel = e => e.preventDefault()

// ---- drawing

const el = (tag, props, ...children) => {
  const e = Object.assign(document.createElement(tag), props)
  e.append(...children)
  return e
}
const short = id => id.slice(0, 10) + '…'
function badge(name, id) {
  let hue = 0
  for (const c of id) hue = (hue * 31 + c.charCodeAt(0)) % 360
  const b = el('span', { className: 'badge', textContent: (name || '?').trim().slice(0, 1).toUpperCase() || '?' })
  b.style.setProperty('--hue', hue)
  return b
}
const clock = s => Math.floor(s / 60) + ':' + String(Math.floor(s % 60)).padStart(2, '0')

// fill replaces a list only when it has changed, so that nothing flickers under
// the pointer.
function fill(list, key, items) {
  if (list.dataset.key === key) return
  list.dataset.key = key
  list.replaceChildren(...items())
}

function show(s) {
  const before = state
  state = s
  if (s.calls.length === 0 && before.calls.length > 0) {
    disconnect()
    camera(false)
    muted = false
    tuned = undefined
    framed = -Infinity
  }
  const gone = before.calls.find(c => c.phase === 'rings' && !s.calls.some(o => o.id === c.id))
  if (gone) say((gone.name || short(gone.peer)) + ' did not answer.')
  draw()
}

function draw() {
  const s = state, c = current(), r = ringing()
  document.body.dataset.view = c ? 'call' : 'home'
  $('stage').hidden = !c
  $('links').textContent = s.links ? 'linked to ' + s.links + (s.links === 1 ? ' node' : ' nodes') : 'alone so far'
  $('ticket').textContent = s.ticket || ''

  fill($('people'), JSON.stringify(s.people), () => s.people.length
    ? s.people.map(p => el('li', {}, badge(p.name, p.id),
      el('div', { className: 'text' }, el('span', {}, p.name || 'no name', ...(p.verified ? [el('span', { className: 'mark', textContent: 'verified' })] : [])), el('small', { textContent: p.blocked ? 'blocked' : short(p.id) })),
      ...(p.blocked
        ? [el('button', { className: 'small second', textContent: 'Unblock', onclick: attempt(() => api('block', { id: p.id, on: false })) })]
        : [el('button', { className: 'small', textContent: 'Call', onclick: attempt(() => call(p.id, false)) }),
          el('button', { className: 'small second', textContent: 'Video', onclick: attempt(() => call(p.id, true)) })])))
    : [el('li', { className: 'none', textContent: 'Nobody yet. Paste somebody’s ticket above.' })])

  fill($('history'), JSON.stringify(s.history), () => s.history.length
    ? s.history.map(h => el('li', { className: h.missed ? 'missed' : '' }, badge(h.name, h.peer),
      el('div', { className: 'text' }, el('span', { textContent: h.name || short(h.peer) }),
        el('small', { textContent: (h.missed ? 'missed' : h.incoming ? 'called you' : 'you called') + ', ' + new Date(h.when).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' }) + (h.seconds >= 1 ? ', ' + clock(h.seconds) : '') })),
      el('button', { className: 'small second', textContent: 'Call', onclick: attempt(() => call(h.peer, false)) })))
    : [el('li', { className: 'none', textContent: 'No calls yet.' })])

  if (r && !$('ring').open) $('ring').showModal()
  if (!r && $('ring').open) $('ring').close()
  bell(!!r)
  if (r) {
    $('ringKind').textContent = r.video ? 'Incoming video call' : 'Incoming call'
    $('ringWho').textContent = r.name || 'Somebody without a name'
    $('ringID').textContent = (r.known ? '' : 'calls itself so · ') + short(r.peer)
    $('answerVideo').hidden = !r.video
  }

  if (!c) return
  $('who').textContent = c.name || short(c.peer)
  $('mark').hidden = !c.verified
  $('time').textContent = c.phase === 'talks' ? clock(c.seconds) : 'ringing…'
  $('quality').textContent = c.phase !== 'talks' ? '' : c.held || c.heldByPeer ? 'on hold' + (c.held ? '' : ' by the other side')
    : [c.path || 'no path at the moment', c.rtt + ' ms', (100 * c.loss).toFixed(1) + ' % lost', c.mos ? 'MOS ' + c.mos.toFixed(1) : '', c.recorded ? 'the other side records' : ''].filter(Boolean).join('  ·  ')
  $('reason').textContent = c.phase === 'talks' ? c.reason : ''
  fill($('face'), c.peer + c.name, () => [badge(c.name, c.peer)])
  $('words').hidden = c.phase !== 'talks' || !c.words?.length || c.verified
  $('list').textContent = (c.words || []).join(' ')
  $('mute').setAttribute('aria-pressed', muted)
  $('camera').setAttribute('aria-pressed', !!cam)
  $('camera').disabled = c.phase === 'talks' && !c.video
  $('hold').setAttribute('aria-pressed', c.held)
  $('hold').disabled = c.phase !== 'talks'
  $('self').classList.toggle('live', !!cam)
  if (c.phase === 'talks') tune(c.sound).catch(() => {})
}

// ---- the bell

let bellTimer, air
function bell(on) {
  if (on === !!bellTimer) return
  clearInterval(bellTimer)
  bellTimer = undefined
  if (!on) return
  const ring = () => {
    air ||= new AudioContext()
    const t = air.currentTime, gain = air.createGain()
    gain.connect(air.destination)
    gain.gain.setValueAtTime(0, t)
    for (const [at, to] of [[.05, .12], [.5, .12], [.6, 0]]) gain.gain.linearRampToValueAtTime(to, t + at)
    for (const hz of [440, 554]) {
      const o = air.createOscillator()
      o.frequency.value = hz
      o.connect(gain)
      o.start(t)
      o.stop(t + .65)
    }
  }
  ring()
  bellTimer = setInterval(ring, 2000)
}

if (token) listen()
else say('Open the address that the program printed: the part behind # is missing.')
