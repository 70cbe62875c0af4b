// The form's event as lines to copy.

import { curlLine, sendLine } from './commands.js';
import { byId, copy, element, setText } from './dom.js';

const LINES = [
  { id: 'send', label: 'Terminal', note: 'fanfare is the program that serves this page', make: (draft) => sendLine(draft, location.origin) },
  { id: 'curl', label: 'HTTP', note: '$FANFARE_API_KEY is one of the server’s API keys', make: (draft) => curlLine(draft, location.origin) },
];

export class CommandsView {
  #lines = LINES.map((line) => ({ ...line, ...makeLine(line) }));

  constructor() {
    byId('commands').append(...this.#lines.map(({ block }) => block));
  }

  show(draft) {
    for (const { code, make } of this.#lines) {
      setText(code, draft.group ? make(draft) : '');
    }
  }
}

function makeLine({ id, label, note }) {
  const code = element('code', { data: { testid: `command-${id}` } });
  const button = element('button', {
    class: 'quiet',
    text: 'Copy',
    attributes: { type: 'button', 'aria-describedby': `command-${id}-label` },
    data: { testid: `copy-${id}` },
    on: { click: () => copy(code.textContent, button) },
  });
  const head = element(
    'div',
    { class: 'command-head' },
    element('h3', { text: label, attributes: { id: `command-${id}-label` } }),
    note ? element('p', { class: 'hint', text: note }) : null,
    button,
  );
  const pre = element('pre', { attributes: { tabindex: '0', role: 'region', 'aria-labelledby': `command-${id}-label` } }, code);
  return { block: element('div', { class: 'command' }, head, pre), code };
}
