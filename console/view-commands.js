// The form's event as lines to copy.

import { curlLine, djangoCall, sendLine } from './commands.js';
import { byId, copy, element, setText } from './dom.js';

const LINES = [
  { id: 'send', label: 'Terminal', make: (draft) => sendLine(draft) },
  { id: 'curl', label: 'HTTP', note: '$FANFARE_API_KEY is one of the server’s API keys', make: (draft) => curlLine(draft, location.origin) },
  { id: 'django', label: 'Django', make: (draft) => djangoCall(draft) },
];

export class CommandsView {
  #lines = LINES.map((line) => ({ ...line, ...makeLine(line) }));

  constructor() {
    byId('commands').append(...this.#lines.map(({ block }) => block));
  }

  show(draft) {
    for (const { block, code, make } of this.#lines) {
      const text = draft.group ? make(draft) : '';
      block.hidden = text === null;
      setText(code, text ?? '');
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
