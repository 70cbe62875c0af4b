// How an event is shown: by the page's own `UiB`, or by small toasts of ours. Text is never taken for HTML.

import type { LegacyObject } from './index.js';

/** What a page may bring. */
export interface Ui {
  MsgInfo?(text: string): void;
  MsgSuccess?(text: string): void;
  MsgError?(text: string): void;
  MsgWarning?(text: string): void;
  MsgSwall?(options: { title: string; text: string; icon: string; confirmButtonText: string; url: string }): void;
}

const text = (value: unknown) => (typeof value === 'string' ? value : '');

/** `[group] message`, or `[group] title: message`; without a group for what is for the user alone. */
export function displayText(object: LegacyObject): string {
  const group = text(object['group_name']);
  const title = text(object['title']);
  return `${group ? `[${group}] ` : ''}${title ? `${title}: ` : ''}${text(object['message'])}`;
}

/** A size in MB with two decimals, or nothing. */
export function megabytes(size: unknown): string {
  return typeof size === 'number' ? `${(size / 1024 / 1024).toFixed(2)} MB` : '';
}

export function show(object: LegacyObject, ui: Ui | undefined): void {
  if (object.type.startsWith('task_')) return;
  const shown = displayText(object);
  if (object.type.endsWith('_file')) {
    const name = `${text(object['file_name'])} ${megabytes(object['file_size'])}`.trim();
    const url = safeUrl(text(object['file_url']));
    if (ui?.MsgSwall) ui.MsgSwall({ title: shown, text: name, icon: 'info', confirmButtonText: 'Download', url: url ?? '' });
    else toast(shown, 'info', url === null ? null : { url, name });
    return;
  }
  const level = text(object['notification_type']) || 'info';
  const own = { success: ui?.MsgSuccess, error: ui?.MsgError, warning: ui?.MsgWarning }[level] ?? ui?.MsgInfo;
  if (own) own.call(ui, shown);
  else toast(shown, level, null);
}

/** Only what a browser can fetch becomes a link. */
function safeUrl(url: string): string | null {
  try {
    const parsed = new URL(url, globalThis.location?.href ?? 'http://localhost');
    return ['http:', 'https:'].includes(parsed.protocol) ? url : null;
  } catch {
    return null;
  }
}

const COLOURS: { [level: string]: string } = { success: '#14713d', error: '#b3261e', warning: '#8a5300', info: '#1f5fa8' };
const SHOWN_MS = 8000;

function toast(shown: string, level: string, link: { url: string; name: string } | null): void {
  const page = globalThis.document;
  if (page?.body === undefined || page.body === null) return;
  const one = page.createElement('div');
  one.setAttribute('role', level === 'error' ? 'alert' : 'status');
  // Styles are set one by one: a policy that forbids style attributes allows that.
  const look = { background: COLOURS[level] ?? '#1f5fa8', color: '#fff', padding: '12px 16px', margin: '8px', borderRadius: '8px', font: '15px/1.4 system-ui, sans-serif', maxWidth: '26rem' };
  Object.assign(one.style, look);
  one.textContent = shown;
  if (link !== null) {
    const anchor = page.createElement('a');
    anchor.href = link.url;
    anchor.download = '';
    anchor.textContent = ` ${link.name}`;
    anchor.style.color = 'inherit';
    one.append(anchor);
  }
  corner(page).append(one);
  setTimeout(() => one.remove(), SHOWN_MS);
}

function corner(page: Document): HTMLElement {
  const found = page.getElementById('fanfare-toasts');
  if (found !== null) return found;
  const made = page.createElement('div');
  made.id = 'fanfare-toasts';
  Object.assign(made.style, { position: 'fixed', right: '8px', top: '8px', zIndex: '2147483000' });
  page.body.append(made);
  return made;
}
