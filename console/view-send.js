// The form that publishes, and its receipt.

import { byId, element, setText } from './dom.js';
import { readDraft } from './draft.js';
import { publishCure, sentence } from './explain.js';
import { megabytes, milliseconds, position } from './format.js';

/** The fields as `readDraft` names them, and where they stand. */
const FIELDS = {
  group: 'send-group',
  kind: 'send-kind',
  own: 'send-own',
  type: 'send-type',
  title: 'send-title-text',
  text: 'send-text',
  url: 'send-file-url',
  name: 'send-file-name',
  size: 'send-file-size',
  body: 'send-body',
  data: 'send-data',
};

/** A first text for each kind, so that Send does something worth seeing at once. Replaced only where it wasn't edited. */
const TEXTS = {
  notification: 'Monthly target achieved!',
  message: 'Three new leads since lunch',
  file: 'Sales of the year, day by day',
};

/** The size of the sample that comes with this page. */
const SAMPLE = { url: '/sample/sales-2025.csv', size: 20421 };

export class SendView {
  #link;
  #form = byId('send-form');
  #onDraft;

  /** `onDraft` is called with the draft whenever the form changes. */
  constructor(link, onDraft) {
    this.#link = link;
    this.#onDraft = onDraft;
    byId(FIELDS.size).value = String(SAMPLE.size);
    this.#form.addEventListener('input', (event) => this.#edited(event.target));
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#form.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.#form.requestSubmit();
    });
    this.#showFields();
  }

  get group() {
    return byId(FIELDS.group).value;
  }

  choose(name) {
    this.update();
    byId(FIELDS.group).value = name;
    this.#changed();
  }

  /** Brings the list of groups in line with those that are followed. */
  update() {
    const select = byId(FIELDS.group);
    const names = [...this.#link.groups.keys()];
    if (names.join('\n') === [...select.options].map((option) => option.value).join('\n')) return;
    const before = select.value;
    select.replaceChildren(...names.map((name) => element('option', { text: name, attributes: { value: name } })));
    select.disabled = names.length === 0;
    if (names.includes(before)) select.value = before;
    this.#changed();
  }

  #edited(target) {
    if (target.id === FIELDS.kind) this.#kindChanged();
    // The sample's size belongs to the sample.
    if (target.id === FIELDS.url && target.value !== SAMPLE.url && byId(FIELDS.size).value === String(SAMPLE.size)) byId(FIELDS.size).value = '';
    target.removeAttribute('aria-invalid');
    this.#changed();
  }

  #kindChanged() {
    const kind = byId(FIELDS.kind).value;
    const text = byId(FIELDS.text);
    if (TEXTS[kind] && Object.values(TEXTS).includes(text.value)) text.value = TEXTS[kind];
    this.#showFields();
  }

  #showFields() {
    const kind = byId(FIELDS.kind).value;
    for (const part of this.#form.querySelectorAll('[data-for]')) part.hidden = !part.dataset.for.split(' ').includes(kind);
  }

  #changed() {
    const size = Number(byId(FIELDS.size).value || NaN);
    setText(byId('send-file-size-note'), megabytes(size) || 'optional');
    const { draft } = this.#read();
    this.#onDraft(draft);
  }

  #read() {
    const fields = Object.fromEntries(Object.entries(FIELDS).map(([name, id]) => [name, byId(id).value]));
    return readDraft(fields);
  }

  async #send() {
    const { draft, problems } = this.#read();
    for (const id of Object.values(FIELDS)) byId(id).removeAttribute('aria-invalid');
    if (problems.length > 0) {
      for (const { field } of problems) byId(FIELDS[field]).setAttribute('aria-invalid', 'true');
      byId(FIELDS[problems[0].field]).focus();
      this.#receipt('bad', problems.map(({ text }) => text).join(' '));
      return;
    }
    const button = byId('send-submit');
    button.setAttribute('aria-busy', 'true');
    const started = performance.now();
    try {
      const receipt = await this.#link.publish(draft);
      const place = position(receipt?.position);
      const where = place ? `position ${place.offset} of ${draft.group}` : `${draft.group} keeps no history`;
      this.#receipt('good', `Event ${receipt?.id ?? 'without id'} · ${where} · acknowledged in ${milliseconds(performance.now() - started)}`);
    } catch (problem) {
      const code = problem?.code ? ` (${problem.code})` : '';
      this.#receipt('bad', `Not sent: ${sentence(problem)}${code} ${publishCure(problem)}`.trim());
    } finally {
      button.removeAttribute('aria-busy');
    }
  }

  #receipt(tone, text) {
    const receipt = byId('receipt');
    receipt.dataset.tone = tone;
    setText(receipt, text);
  }
}
