// Toasts: what a user of the customer's application would see of an event.

import { byId, element, icon } from './dom.js';
import { NOTIFICATION_TYPES, lastPart, megabytes, safeUrl, toastParts } from './format.js';

const SHOWN = 4;
/** On a phone's width, where each takes a good part of the screen. */
const SHOWN_NARROW = 2;
const NARROW = matchMedia('(max-width: 36rem)');
const TICK_MS = 250;
const LASTS_MS = { message: 7000, notification: 8000, file: 20000 };
const SERIOUS_MS = 14000;

export class ToastsView {
  #list = byId('toasts');
  #left = new Map();
  #held = false;
  #timer = 0;

  constructor() {
    const hold = (held) => () => (this.#held = held);
    this.#list.addEventListener('pointerenter', hold(true));
    this.#list.addEventListener('pointerleave', hold(false));
    this.#list.addEventListener('focusin', hold(true));
    this.#list.addEventListener('focusout', hold(false));
    this.#list.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.#dismiss(event.target.closest('.toast'));
    });
  }

  /** Shows an event of a kind that people read; others are for the list alone. */
  add(event) {
    if (!(event.kind in LASTS_MS)) return;
    const toast = this.#make(event);
    this.#list.append(toast);
    this.#left.set(toast, event.type === 'error' || event.type === 'warning' ? SERIOUS_MS : LASTS_MS[event.kind]);
    while (this.#list.childElementCount > (NARROW.matches ? SHOWN_NARROW : SHOWN)) this.#dismiss(this.#list.firstElementChild);
    this.#timer ||= setInterval(() => this.#tick(), TICK_MS);
  }

  // Time stands still while someone points at a toast, is in one with the keyboard, or looks elsewhere.
  #tick() {
    if (this.#held || document.hidden) return;
    for (const [toast, left] of this.#left) {
      if (left <= TICK_MS) this.#dismiss(toast);
      else this.#left.set(toast, left - TICK_MS);
    }
  }

  #dismiss(toast) {
    if (!toast) return;
    const hadFocus = toast.contains(document.activeElement);
    const next = toast.nextElementSibling ?? toast.previousElementSibling;
    this.#left.delete(toast);
    toast.remove();
    if (hadFocus) (next?.querySelector('.toast-close') ?? byId('main')).focus();
    if (this.#left.size === 0) {
      clearInterval(this.#timer);
      this.#timer = 0;
      this.#held = false;
    }
  }

  #make(event) {
    const type = event.kind === 'notification' && NOTIFICATION_TYPES.includes(event.type) ? event.type : '';
    const { prefix, title, text } = toastParts(event);
    const close = element(
      'button',
      { class: 'toast-close', attributes: { type: 'button', 'aria-label': 'Dismiss' }, on: { click: () => this.#dismiss(toast) } },
      icon('close'),
    );
    // The pieces are set apart by weight; read together they are exactly the line that the protocol's users know.
    const line = element(
      'p',
      { class: 'toast-text' },
      element('span', { class: 'toast-group', text: prefix }),
      title ? ' ' : null,
      title ? element('strong', { text: title }) : null,
      text ? ` ${text}` : null,
    );
    const toast = element(
      'li',
      { class: 'toast', data: { testid: 'toast', kind: event.kind, type, group: event.group } },
      icon(type || event.kind, type || event.kind),
      element('div', { class: 'toast-main' }, line, event.kind === 'file' ? fileCard(event) : null),
      close,
    );
    return toast;
  }
}

function fileCard(event) {
  const name = String(event.name || lastPart(event.url));
  const href = safeUrl(event.url, location.href);
  const text = element('div', { class: 'file-text' }, element('span', { class: 'file-name', text: name }), element('span', { class: 'file-size', text: megabytes(event.size) }));
  const link = href
    ? element('a', { class: 'file-link', attributes: { href, download: name, rel: 'noopener noreferrer', target: '_blank' } }, icon('download'), 'Download')
    : element('span', { class: 'file-refused', text: 'No link: the address is neither http nor https' });
  return element('div', { class: 'file-card', data: { testid: 'file-card' } }, text, link);
}
