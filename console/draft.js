// What the form holds, as something that can be published. Pure: fields in, draft or complaints out.

import { KNOWN_KINDS, NOTIFICATION_TYPES } from './format.js';

/**
 * Reads the fields of the form: `group, kind, own, type, title, text, url, name, size, body, data`, all text.
 *
 * Gives `{draft, problems}`. A problem names its field and says what to do. The draft is there also with problems, as far as it
 * goes, so that the command lines can follow the typing.
 */
export function readDraft(fields) {
  const problems = [];
  const complain = (field, text) => problems.push({ field, text });
  if (!fields.group) complain('group', 'Subscribe to a group first.');

  let kind = fields.kind;
  let content;
  switch (fields.kind) {
    case 'message':
      content = fields.text;
      if (!fields.text) complain('text', 'Write a text.');
      break;
    case 'notification':
      content = { type: NOTIFICATION_TYPES.includes(fields.type) ? fields.type : 'info', title: fields.title, message: fields.text };
      if (!fields.text) complain('text', 'Write a text.');
      break;
    case 'file':
      content = file(fields, complain);
      break;
    default:
      kind = fields.own;
      content = parsed(fields.body, 'body', 'The body', complain);
      if (KNOWN_KINDS.includes(kind)) complain('own', `“${kind}” is a kind of the protocol; choose another name.`);
      else if (!/^[A-Za-z0-9_.-]{1,64}$/.test(kind)) complain('own', 'Name the kind with 1 to 64 characters out of A–Z a–z 0–9 _ - .');
  }

  let data = null;
  if (fields.data.trim()) {
    data = parsed(fields.data, 'data', 'Data', complain);
    if (data !== null && (typeof data !== 'object' || Array.isArray(data))) {
      complain('data', 'Data has to be a JSON object, such as { "target": 100 }.');
      data = null;
    }
  }
  return { draft: { group: fields.group, kind, content, data }, problems };
}

function file(fields, complain) {
  const content = { url: fields.url.trim() };
  if (!content.url) complain('url', 'Give the address of the file.');
  if (fields.name.trim()) content.name = fields.name.trim();
  if (fields.text) content.message = fields.text;
  const size = fields.size.replaceAll(/[\s,_']/g, '');
  if (size) {
    if (/^\d{1,15}$/.test(size)) content.size = Number(size);
    else complain('size', 'The size is a whole number of bytes.');
  }
  return content;
}

function parsed(text, field, name, complain) {
  try {
    return JSON.parse(text);
  } catch {
    complain(field, `${name} is not JSON. Texts and keys stand in double quotes.`);
    return null;
  }
}

/** Why a text can't be a group's name, or null if it can. */
export function groupNameProblem(name) {
  if (/^user\.[A-Za-z0-9_.@+-]{1,150}$/.test(name)) return null;
  if (/^[A-Za-z0-9_.-]{1,99}$/.test(name)) return null;
  if (!name) return 'Type the name of a group.';
  return 'A group’s name has 1 to 99 characters out of A–Z a–z 0–9 _ - .';
}
