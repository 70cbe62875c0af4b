// The strip at the top: state, transport, round trip, user, session; and the sentence below it.

import { byId, setText } from './dom.js';
import { notice, transportName, transportReason } from './explain.js';
import { milliseconds } from './format.js';

const SAMPLES = 40;

export class ConnectionView {
  #link;
  #samples = [];
  #dialog = byId('token-dialog');

  constructor(link) {
    this.#link = link;
    const force = byId('force-websocket');
    force.checked = link.forced;
    force.addEventListener('change', () => link.force(force.checked));
    byId('link-toggle').addEventListener('click', () => this.#toggle());
    byId('token-open').addEventListener('click', () => this.#dialog.showModal());
    this.#dialog.addEventListener('close', () => this.#tokenChosen());
  }

  update() {
    const link = this.#link;
    const { state, transport } = link;
    setText(byId('state'), state);
    byId('state-dot').dataset.state = state;
    setText(byId('state-note'), stateNote(link));
    setText(byId('transport'), transportName(transport));
    byId('transport').dataset.transport = transport ?? 'none';
    setText(byId('transport-note'), transportReason(link));
    setText(byId('user'), link.user ?? (state === 'connected' ? 'anonymous' : '–'));
    setText(byId('session'), link.session ?? '–');
    byId('session').title = link.session ?? '';
    setText(byId('session-note'), link.node ? `on node ${link.node}` : '');
    const said = notice(link);
    byId('notice').dataset.tone = said.tone;
    setText(byId('notice-text'), said.text);
    setText(byId('link-toggle'), toggleWords(state));
    this.#roundTrip();
  }

  /** Takes a sample of the round trip, and asks for the next one; called once a second. */
  sample() {
    const { rtt, state } = this.#link;
    if (state !== 'connected') return;
    if (!document.hidden) this.#link.ping();
    if (typeof rtt !== 'number') return;
    this.#samples.push(rtt);
    if (this.#samples.length > SAMPLES) this.#samples.shift();
    const top = Math.max(...this.#samples, 1);
    const points = this.#samples.map((ms, at) => `${((at * 120) / (SAMPLES - 1)).toFixed(1)},${(18.5 - (ms / top) * 16).toFixed(1)}`);
    byId('rtt-line').firstElementChild.setAttribute('points', points.join(' '));
  }

  #roundTrip() {
    const { rtt, state } = this.#link;
    const known = typeof rtt === 'number' && state === 'connected';
    setText(byId('rtt'), known ? milliseconds(rtt) : '–');
    if (state === 'idle' || state === 'failed') this.#samples.length = 0;
  }

  #toggle() {
    if (this.#link.state === 'connected' || this.#link.state === 'connecting') this.#link.disconnect();
    else this.#link.connect();
  }

  #tokenChosen() {
    const input = byId('token-input');
    const token = input.value.trim();
    if (this.#dialog.returnValue === 'use' && token) this.#link.useToken(token);
    else if (this.#dialog.returnValue === 'anonymous') this.#link.useToken(undefined);
    input.value = '';
    this.#dialog.returnValue = '';
  }
}

function toggleWords(state) {
  switch (state) {
    case 'connected':
      return 'Disconnect';
    case 'connecting':
      return 'Stop';
    case 'reconnecting':
      return 'Try now';
    default:
      return 'Connect';
  }
}

// Changes every second, so it stands outside of the live region.
function stateNote({ state, retry }) {
  if (state !== 'reconnecting' || !retry || !Number.isFinite(retry.nextAt)) return '';
  const seconds = Math.ceil((Number(retry.nextAt) - Date.now()) / 1000);
  const attempt = retry.attempt ? `attempt ${retry.attempt}` : 'next attempt';
  return seconds > 0 ? `${attempt} in ${seconds} s` : `${attempt} under way`;
}
