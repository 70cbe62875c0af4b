// The same event, sent from a terminal or from the application. Pure functions on a draft:
// `{group, kind, content, data}`, as given to the client's `publish`.

/** A word for a POSIX shell: bare where nothing needs quoting, else in single quotes. */
export function shellWord(text) {
  const word = String(text);
  return /^[A-Za-z0-9_\-./:@%+=,]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** `fanfare send …` */
export function sendLine({ group, kind, content, data }) {
  const options = [];
  const option = (name, value) => {
    if (value !== undefined && value !== null && value !== '') options.push(`--${name}`, shellWord(value));
  };
  let text = null;
  switch (kind) {
    case 'message':
      text = content;
      break;
    case 'notification':
      text = content.message;
      option('type', content.type);
      option('title', content.title);
      break;
    case 'file':
      text = content.message ?? null;
      option('file', content.url);
      option('name', content.name);
      option('size', content.size);
      break;
    default:
      option('kind', kind);
      option('body', JSON.stringify(content));
  }
  if (data) option('data', JSON.stringify(data));
  const start = ['fanfare', 'send', shellWord(group)];
  if (text === null) return [...start, ...options].join(' ');
  // A text that begins with a dash would be taken for an option.
  const words = text.startsWith('-') ? [...start, ...options, '--', shellWord(text)] : [...start, shellWord(text), ...options];
  return words.join(' ');
}

/** `curl …` against the HTTP API of the server at `origin`. */
export function curlLine({ group, kind, content, data }, origin) {
  const [route, body] = request(kind, content);
  if (data) body.data = data;
  const user = group.startsWith('user.') ? group.slice('user.'.length) : null;
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

/** A call of the Django package's functions; null for kinds that have none. */
export function djangoCall({ group, kind, content, data }) {
  const args = [python(group)];
  const named = (name, value) => {
    if (value !== undefined && value !== null) args.push(`${name}=${python(value)}`);
  };
  let call;
  switch (kind) {
    case 'message':
      call = 'ws_send_group_message';
      args.push(python(content));
      break;
    case 'notification':
      call = 'ws_send_group_notification';
      args.push(python(content.message), python(content.type));
      if (content.title) args.push(python(content.title));
      break;
    case 'file':
      call = 'ws_send_group_file';
      args.push(python(content.url));
      if (content.name) args.push(python(content.name));
      named('message', content.message);
      named('file_size', content.size);
      break;
    default:
      return null;
  }
  named('data', data);
  return `${call}(${args.join(', ')})`;
}

/** A JSON value as a Python literal. */
export function python(value) {
  if (value === null || value === undefined) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (typeof value === 'number') return String(value);
  if (Array.isArray(value)) return `[${value.map(python).join(', ')}]`;
  if (typeof value === 'object') {
    return `{${Object.entries(value).map(([key, inner]) => `${python(key)}: ${python(inner)}`).join(', ')}}`;
  }
  const text = JSON.stringify(String(value)).slice(1, -1);
  return text.includes("'") ? `"${text}"` : `'${text.replaceAll('\\"', '"')}'`;
}
