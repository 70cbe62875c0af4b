// The same event, sent from a terminal or from the application. Pure functions on a draft:
// `{group, kind, content, data}`, as given to the client's `publish`.

/** A word for a POSIX shell: bare where nothing needs quoting, else in single quotes. */
export function shellWord(text) {
  const word = String(text);
  return /^[A-Za-z0-9_\-./:@%+=,]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Where `fanfare send` looks for a server without being told. */
const DEFAULT_ORIGINS = ['http://localhost:8080', 'http://127.0.0.1:8080'];

/** `fanfare send …` to the server at `origin`. */
export function sendLine({ group, kind, content, data }, origin) {
  const user = userOf(group);
  const [command, words, options] = parts(kind, content);
  const given = { ...options, data: data ? JSON.stringify(data) : undefined, url: DEFAULT_ORIGINS.includes(origin) ? undefined : origin };
  const flags = Object.entries(given).filter(([, value]) => value !== undefined && value !== null && value !== '').map(([name, value]) => flag(name, String(value)));
  if (user !== null) flags.push('--user');
  const start = ['fanfare', 'send', command];
  const plain = [user ?? group, ...words];
  const shown = plain.map(shellWord);
  // A word that begins with a dash would be taken for an option.
  return (plain.some((word) => word.startsWith('-')) ? [...start, ...flags, '--', ...shown] : [...start, ...shown, ...flags]).join(' ');
}

/** Subcommand, words and options of `fanfare send`. */
function parts(kind, content) {
  switch (kind) {
    case 'message':
      return ['message', [content], {}];
    case 'notification':
      return ['notification', [content.message], { type: content.type, title: content.title }];
    case 'file':
      return ['file', [], { 'file-url': content.url, 'file-name': content.name, 'file-size': content.size, message: content.message }];
    default:
      return ['event', [kind, JSON.stringify(content)], {}];
  }
}

function flag(name, value) {
  return value.startsWith('-') ? `--${name}=${shellWord(value)}` : `--${name} ${shellWord(value)}`;
}

/** The user whose personal group it is, or null. */
function userOf(group) {
  return group.startsWith('user.') ? group.slice('user.'.length) : null;
}

/** `curl …` against the HTTP API of the server at `origin`. */
export function curlLine({ group, kind, content, data }, origin) {
  const [route, body] = request(kind, content);
  if (data) body.data = data;
  const user = userOf(group);
  const target = user === null ? `groups/${encodeURIComponent(group)}` : `users/${encodeURIComponent(user)}`;
  return [
    `curl ${shellWord(`${origin}/v1/${target}/${route}`)}`,
    `-H "Authorization: Bearer $FANFARE_API_KEY"`,
    `-H 'Content-Type: application/json'`,
    `-d ${shellWord(JSON.stringify(body))}`,
  ].join(' \\\n  ');
}

function request(kind, content) {
  switch (kind) {
    case 'message':
      return ['messages', { message: content }];
    case 'notification':
      return ['notifications', { message: content.message, type: content.type, ...(content.title ? { title: content.title } : {}) }];
    case 'file':
      return ['files', { ...content }];
    default:
      return ['events', { kind, body: content }];
  }
}
