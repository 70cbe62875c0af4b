// The list of followed groups, and the form that follows another one.

import { byId, element, setText } from './dom.js';
import { groupNameProblem } from './draft.js';
import { sentence } from './explain.js';
import { count, position, whoIsHere } from './format.js';

export class GroupsView {
  #link;
  #list = byId('groups');
  #rows = new Map();
  #chosen;

  /** `chosen` is asked for the group that the form sends to, and `choose` called to change it. */
  constructor(link, { chosen, choose }) {
    this.#link = link;
    this.#chosen = { get: chosen, set: choose };
    byId('group-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#subscribe();
    });
    byId('group-input').addEventListener('input', () => this.#hint(''));
  }

  update() {
    const { groups } = this.#link;
    for (const [name, row] of this.#rows) {
      if (groups.has(name)) continue;
      const hadFocus = row.item.contains(document.activeElement);
      row.item.remove();
      this.#rows.delete(name);
      if (hadFocus) byId('group-input').focus();
    }
    for (const group of groups.values()) {
      let row = this.#rows.get(group.name);
      if (!row) {
        row = this.#makeRow(group);
        this.#rows.set(group.name, row);
        this.#list.append(row.item);
      }
      this.#fill(row, group);
    }
    const total = groups.size;
    setText(byId('groups-note'), total === 0 ? 'none followed' : `${total} followed`);
  }

  #subscribe() {
    const input = byId('group-input');
    const name = input.value.trim();
    const problem = groupNameProblem(name) ?? (this.#link.groups.has(name) ? `This page follows ${name} already.` : null);
    input.setAttribute('aria-invalid', String(problem !== null));
    this.#hint(problem ?? '');
    if (problem) {
      input.focus();
      return;
    }
    this.#link.subscribe(name);
    this.#chosen.set(name);
    input.value = '';
  }

  #hint(text) {
    setText(byId('group-hint'), text);
    if (!text) byId('group-input').setAttribute('aria-invalid', 'false');
  }

  #makeRow(group) {
    const state = element('span', { class: 'group-state' });
    const facts = element('span', { class: 'group-facts' });
    const here = element('p', { class: 'group-line group-facts', data: { testid: `group-here-${group.name}` } });
    here.hidden = true;
    const retry = element('button', { class: 'quiet', text: 'Ask again', attributes: { type: 'button' }, on: { click: () => this.#link.retryGroup(group.name) } });
    const leave = element('button', {
      class: 'quiet',
      text: 'Unsubscribe',
      attributes: { type: 'button', 'aria-label': `Unsubscribe from ${group.name}` },
      data: { testid: `group-leave-${group.name}` },
      on: { click: () => this.#link.unsubscribe(group.name) },
    });
    leave.hidden = group.personal;
    const name = element('button', {
      class: 'group-name',
      text: group.name,
      attributes: { type: 'button', title: 'Send to this group' },
      on: { click: () => this.#chosen.set(group.name) },
    });
    const item = element(
      'li',
      { class: 'group', data: { testid: `group-item-${group.name}` } },
      element('span', { class: 'dot', attributes: { 'aria-hidden': 'true' } }),
      element('div', { class: 'group-text' }, name, element('p', { class: 'group-line' }, state, facts), here),
      element('div', { class: 'group-tools' }, retry, leave),
    );
    return { item, state, facts, here, retry, name };
  }

  #fill(row, group) {
    const state = group.denial ? 'denied' : (group.handle?.state ?? 'joining');
    row.item.dataset.state = state;
    row.item.firstElementChild.dataset.state = state;
    setText(row.state, state === 'denied' ? 'denied' : waitingOr(state, this.#link.state));
    row.name.setAttribute('aria-pressed', String(this.#chosen.get() === group.name));
    row.retry.hidden = state !== 'denied';
    setText(row.facts, state === 'denied' ? deniedFacts(group) : facts(group, state));
    const here = state === 'joined' && group.presence ? whoIsHere(group.presence) : '';
    setText(row.here, here);
    row.here.hidden = here === '';
  }
}

// While there is no connection nobody is asking, so "joining" would promise too much.
function waitingOr(state, link) {
  return state === 'joining' && link !== 'connected' ? 'waiting' : state;
}

function facts(group, state) {
  const place = position(group.handle?.position);
  const parts = [count(group.events, 'event')];
  if (place) parts.unshift(`position ${place.offset.toLocaleString('en')}`);
  else if (state === 'joined') parts.unshift('keeps no history');
  if (group.personal) parts.push('your own');
  return parts.join(' · ');
}

function deniedFacts(group) {
  const { code } = group.denial ?? {};
  const said = group.denial?.message ?? group.denial?.reason ?? group.denial?.error?.message;
  return `${said ? sentence(said) : 'The server does not let this session follow it.'}${code ? ` (${code})` : ''}`;
}
