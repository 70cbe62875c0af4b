// Puts the page together: one link to the server, and the views that show it.

import { byId, setText } from './dom.js';
import { Link } from './link.js';
import { CommandsView } from './view-commands.js';
import { ConnectionView } from './view-connection.js';
import { EventsView } from './view-events.js';
import { GroupsView } from './view-groups.js';
import { SendView } from './view-send.js';
import { startThemeButton } from './view-theme.js';
import { ToastsView } from './view-toasts.js';

const CLIENT = '/fanfare/fanfare.js';
const SECOND_MS = 1000;
const UPDATE_MS = 30;

byId('not-started').remove();
startThemeButton();
await start();

async function start() {
  let createClient;
  try {
    ({ createClient } = await import(CLIENT));
  } catch (problem) {
    console.error(problem);
    failed(`The browser client could not be loaded from ${CLIENT}. See that the server was built with it (clients/js), then reload.`);
    return;
  }

  const link = new Link(createClient);
  const commands = new CommandsView();
  const connection = new ConnectionView(link);
  const events = new EventsView();
  const toasts = new ToastsView();
  const send = new SendView(link, (draft) => {
    commands.show(draft);
    groups.update();
  });
  const groups = new GroupsView(link, { chosen: () => send.group, choose: (name) => send.choose(name) });

  // A burst of events is one look at the page.
  let due = false;
  const update = () => {
    due = false;
    send.update();
    groups.update();
    connection.update();
  };
  const updateSoon = () => {
    if (due) return;
    due = true;
    setTimeout(update, UPDATE_MS);
  };

  link.onChange = updateSoon;
  link.onEntry = (entry) => {
    events.add(entry);
    if (entry.type !== 'event') return;
    toasts.add(entry.event);
    updateSoon();
  };

  discover().then((discovery) => {
    link.discovery = discovery;
    if (discovery?.version) setText(byId('version'), `server ${discovery.version}`);
    updateSoon();
  });

  try {
    link.open();
  } catch (problem) {
    console.error(problem);
    failed(`The browser client could not start: ${problem?.message ?? problem}`);
    return;
  }
  update();
  setInterval(() => {
    connection.sample();
    update();
  }, SECOND_MS);
}

/** What the server says about connecting; null if it doesn't say. */
async function discover() {
  try {
    const answer = await fetch('/.well-known/fanfare');
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function failed(text) {
  byId('notice').dataset.tone = 'bad';
  setText(byId('notice-text'), text);
  setText(byId('state'), 'failed');
  byId('state-dot').dataset.state = 'failed';
  byId('link-toggle').hidden = true;
  byId('send-submit').disabled = true;
  byId('group-add').disabled = true;
}
