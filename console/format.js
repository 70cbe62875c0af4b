// Events as text. Pure functions: no page, no connection.

export const NOTIFICATION_TYPES = ['success', 'error', 'info', 'warning'];

/** The kinds whose names an application may not use for its own (docs/protocol.md section 6). */
export const KNOWN_KINDS = ['message', 'notification', 'file', 'task.update', 'task.complete', 'task.error'];

/** What a toast says, in its parts; put together they are `toastText`. */
export function toastParts(event) {
  const prefix = `[${event.group}]`;
  const title = event.kind === 'notification' && event.title ? `${event.title}:` : '';
  return { prefix, title, text: String(event.message ?? '') };
}

/** `[sales_team] Great job!: Monthly target achieved!`, or without a title `[sales_team] text`. */
export function toastText(event) {
  const { prefix, title, text } = toastParts(event);
  return [prefix, title, text].filter((part) => part !== '').join(' ');
}

/** One line about an event of any kind, for the list. */
export function eventParts(event) {
  switch (event.kind) {
    case 'message':
    case 'notification':
      return { title: toastParts(event).title, text: toastParts(event).text };
    case 'file':
      return { title: '', text: String(event.message ?? '') };
    default:
      return { title: '', text: json(event.body) };
  }
}

/** Bytes as megabytes of 1,048,576 bytes, with two decimals. Empty if the size isn't known. */
export function megabytes(bytes) {
  return Number.isFinite(bytes) && bytes >= 0 ? `${(bytes / 1048576).toFixed(2)} MB` : '';
}

/** An address that may become a link: http, https, or relative to the page. Null for everything else. */
export function safeUrl(address, base) {
  try {
    const url = new URL(String(address), base);
    return url.protocol === 'http:' || url.protocol === 'https:' ? url.href : null;
  } catch {
    return null;
  }
}

/** The last part of an address's path, for a file without a name. */
export function lastPart(address) {
  const path = String(address ?? '').split(/[?#]/)[0];
  return path.slice(path.lastIndexOf('/') + 1) || 'file';
}

/** A value as JSON in one line; what has no JSON becomes text. */
export function json(value) {
  try {
    return JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? String(inner) : inner)) ?? 'null';
  } catch {
    return String(value);
  }
}

/** Local time of day with milliseconds: `09:05:07.042`. */
export function clock(date) {
  const two = (number) => String(number).padStart(2, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** A round trip: one decimal below ten milliseconds. */
export function milliseconds(ms) {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms).toLocaleString('en')} ms`;
}

/** `1 event`, `2 events`. */
export function count(number, word) {
  return `${number.toLocaleString('en')} ${word}${number === 1 ? '' : 's'}`;
}

/** Epoch and offset of a position, however it is written; null if the group keeps no history. */
export function position(value) {
  const [epoch, offset] = Array.isArray(value) ? value : [value?.epoch, value?.offset];
  return epoch ? { epoch, offset } : null;
}

/** Who is in a group: `here: ann, bob (2 connections), 3 anonymous`. `list` may be the beginning only. */
export function whoIsHere({ users, anonymous, list }) {
  const names = list.map(({ user, connections }) => (connections > 1 ? `${user} (${connections} connections)` : user));
  if (users > list.length) names.push(`${(users - list.length).toLocaleString('en')} more`);
  if (anonymous > 0) names.push(`${anonymous.toLocaleString('en')} anonymous`);
  return `here: ${names.join(', ') || 'nobody'}`;
}
