// The live list: newest first, bounded, in batches, so that a burst costs one change of the page and not a thousand.

import { byId, element, setText } from './dom.js';
import { gapReason, sentence, transportName } from './explain.js';
import { clock, count, eventParts, json, megabytes } from './format.js';

const SHOWN = 200;
const FLUSH_MS = 40;

export class EventsView {
  #list = byId('events');
  #waiting = [];
  #timer = 0;
  #paused = false;
  #received = 0;
  #dropped = 0;

  constructor() {
    byId('events-pause').addEventListener('click', () => this.#togglePause());
    byId('events-clear').addEventListener('click', () => this.#clear());
  }

  /** Takes one entry as `Link` tells it. */
  add(entry) {
    if (entry.type === 'event') this.#received += 1;
    this.#waiting.push(entry);
    // What would fall off the end at once need never be made.
    if (this.#waiting.length > SHOWN) {
      this.#waiting.shift();
      this.#dropped += 1;
    }
    this.#timer ||= setTimeout(() => this.#flush(), FLUSH_MS);
  }

  #flush() {
    this.#timer = 0;
    if (!this.#paused && this.#waiting.length > 0) {
      const rows = this.#waiting.splice(0).map(row).filter(Boolean).reverse();
      this.#list.prepend(...rows);
      while (this.#list.childElementCount > SHOWN) this.#list.lastElementChild.remove();
    }
    this.#tell();
  }

  #togglePause() {
    this.#paused = !this.#paused;
    byId('events-pause').setAttribute('aria-pressed', String(this.#paused));
    this.#dropped = 0;
    this.#flush();
  }

  #clear() {
    this.#list.replaceChildren();
    this.#waiting.length = 0;
    this.#received = 0;
    this.#dropped = 0;
    this.#tell();
  }

  #tell() {
    const waiting = this.#waiting.length + this.#dropped;
    setText(byId('events-pause'), this.#paused ? 'Resume' : 'Pause');
    const held = this.#paused ? ` · paused, ${waiting.toLocaleString('en')} waiting` : '';
    const bound = this.#list.childElementCount >= SHOWN ? `, newest ${SHOWN} shown` : '';
    setText(byId('events-note'), `${this.#received.toLocaleString('en')} received${bound}${held}`);
    byId('events-empty').hidden = this.#list.childElementCount > 0;
  }
}

function row(entry) {
  switch (entry.type) {
    case 'event':
      return eventRow(entry.event);
    case 'gap':
      return noteRow('gap', entry.time, gapWords(entry));
    case 'interrupted':
      return noteRow('gap', entry.time, `Interrupted: the server is cut off from others, events of ${entry.group} may not come`);
    case 'resumed':
      return noteRow('joined', entry.time, `Resumed: events of ${entry.group} come again`);
    case 'joined':
      return noteRow('joined', entry.time, joinedWords(entry));
    case 'denied':
      return noteRow('denied', entry.time, `Denied: this session may not follow ${entry.group}`);
    case 'error':
      return noteRow('error', entry.time, sentence(entry.problem));
    case 'state':
      return noteRow('state', entry.time, stateWords(entry));
    default:
      return null;
  }
}

function eventRow(event) {
  const { title, text } = eventParts(event);
  const place = event.offset ? `#${event.offset}` : '';
  const own = !['message', 'notification', 'file'].includes(event.kind);
  const facts = element(
    'p',
    { class: 'event-facts' },
    element('span', { class: 'tag', text: event.kind === 'notification' ? `${event.kind} · ${event.type}` : event.kind }),
    element('span', { class: 'event-group', text: event.group }),
    event.sender ? element('span', { text: `from ${event.sender}` }) : null,
    element('span', { class: 'mono event-id', text: String(event.id), attributes: { title: 'event id' } }),
  );
  const when = timestamp(event.timestamp);
  return element(
    'li',
    { class: 'event', data: { testid: 'event-item', kind: event.kind, type: event.type ?? '', group: event.group, id: String(event.id), offset: String(event.offset ?? '') } },
    element('time', { class: 'event-time mono', text: clock(when), attributes: { datetime: when.toISOString() } }),
    element(
      'div',
      { class: 'event-main' },
      element('p', { class: own ? 'event-text mono' : 'event-text' }, title ? element('strong', { text: title }) : null, title ? ' ' : null, text),
      fileFacts(event),
      facts,
      event.data ? dataRow(event.data) : null,
    ),
    element('span', { class: 'event-offset mono', text: place, attributes: place ? { title: `offset ${event.offset}, epoch ${event.epoch}` } : {} }),
  );
}

function fileFacts(event) {
  if (event.kind !== 'file') return null;
  const size = megabytes(event.size);
  return element('p', { class: 'event-file mono', text: size ? `${event.name} · ${size}` : String(event.name ?? '') });
}

function dataRow(data) {
  const line = json(data);
  if (line.length <= 72) return element('p', { class: 'event-data mono', text: line });
  let whole = line;
  try {
    whole = JSON.stringify(data, null, 2) ?? line;
  } catch {
    // A value that JSON.stringify refuses is shown in one line, as `json` made it.
  }
  return element(
    'details',
    { class: 'event-data mono' },
    element('summary', { text: `${line.slice(0, 68)}…` }),
    element('pre', { text: whole, attributes: { tabindex: '0' } }),
  );
}

function noteRow(type, time, text) {
  return element(
    'li',
    { class: 'event note', data: { testid: `${type}-item`, note: type } },
    element('time', { class: 'event-time mono', text: clock(time), attributes: { datetime: time.toISOString() } }),
    element('p', { class: 'event-text', text }),
  );
}

function gapWords({ group, detail }) {
  const known = detail.from && detail.to;
  const many = typeof detail.count === 'number' ? count(detail.count, 'event') : 'events';
  const range = known ? (detail.from === detail.to ? ` (offset ${detail.from})` : ` (offsets ${detail.from} to ${detail.to})`) : '';
  return `Gap in ${group}: ${many}${range} will not come, because ${gapReason(detail.reason)}`;
}

function joinedWords({ group, detail }) {
  if (!detail.again) return `Joined ${group}`;
  if (detail.recovered) {
    return detail.missed ? `Joined ${group} again: all ${count(detail.missed, 'missed event')} recovered` : `Joined ${group} again: nothing was missed`;
  }
  return `Joined ${group} again: not everything could be recovered`;
}

function stateWords({ state, transport }) {
  switch (state) {
    case 'connected':
      return `Connected by ${transportName(transport)}`;
    case 'reconnecting':
      return 'Connection lost';
    case 'failed':
      return 'Connection failed';
    case 'idle':
      return 'Disconnected';
    default:
      return 'Connecting';
  }
}

function timestamp(value) {
  const date = value instanceof Date ? value : new Date(value);
  return Number.isNaN(date.getTime()) ? new Date() : date;
}
