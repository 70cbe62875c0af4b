// The page's one connection: makes the client, makes a new one when transports or token change, and holds the groups.
//
// Views know this object and never the client. It tells them what happens through `onChange` (look again) and `onEntry`
// (something for the list of events).

const DEFAULT_GROUP = 'sales_team';
const FORCED = 'fanfare.force-websocket';
const FOLLOWED = 'fanfare.groups';

export class Link {
  #createClient;
  #client = null;
  #undo = [];
  #token = undefined;
  #problem = null;
  #lastState = 'idle';

  /** Called when anything that views show may have changed. */
  onChange = () => {};
  /** Called with `{type: 'event' | 'joined' | 'gap' | 'interrupted' | 'resumed' | 'denied' | 'error' | 'state', …}`. */
  onEntry = () => {};

  /** Name → `{name, personal, handle, undo, events, joined, denial, presence}`, in the order of subscribing. */
  groups = new Map();
  /** The server's answer at `/.well-known/fanfare`; null while it isn't known. */
  discovery = null;

  constructor(createClient) {
    this.#createClient = createClient;
    this.forced = recall(FORCED) === 'true';
    for (const name of followedBefore() ?? [DEFAULT_GROUP]) this.#note(name);
  }

  get state() { return this.#client?.state ?? 'idle'; }
  get transport() { return this.#client?.transport ?? null; }
  get fallbackReason() { return this.#client?.fallbackReason ?? null; }
  get retry() { return this.#client?.retry ?? null; }
  get rtt() { return this.#client?.rtt ?? null; }
  get user() { return this.#client?.user ?? null; }
  get session() { return this.#client?.session ?? null; }
  get node() { return this.#client?.node ?? this.#client?.server?.node ?? null; }
  get problem() { return this.#problem; }
  get anonymous() { return this.#token === undefined; }

  /** Makes a client and connects. What was followed is followed again. */
  open() {
    const options = { url: location.origin, transports: this.forced ? ['websocket'] : ['webtransport', 'websocket'] };
    if (this.#token !== undefined) options.token = this.#token;
    this.#problem = null;
    this.#lastState = 'idle';
    this.#client = this.#createClient(options);
    this.#undo = [
      this.#client.on('state', () => this.#stateChanged()),
      this.#client.on('error', (problem) => {
        this.#problem = problem;
        this.onEntry({ type: 'error', problem, time: new Date() });
        this.onChange();
      }),
    ];
    for (const group of this.groups.values()) this.#follow(group);
    this.connect();
  }

  connect() {
    this.#problem = null;
    // How it ends shows in the state; a rejection says the same once more.
    Promise.resolve(this.#client.connect()).catch((problem) => {
      this.#problem ??= problem;
      this.onChange();
    });
    this.onChange();
  }

  /** Measures the round trip; `rtt` shows it. */
  ping() {
    // A connection that is lost meanwhile shows in the state.
    this.#client?.ping().catch(() => {});
  }

  disconnect() {
    this.#client.disconnect();
    this.onChange();
  }

  /** Remembers the choice for this tab and starts anew with it. */
  force(forced) {
    this.forced = forced;
    remember(FORCED, String(forced));
    this.#reopen();
  }

  /** Connects as another user; undefined for an anonymous session. */
  useToken(token) {
    this.#token = token;
    for (const [name, group] of this.groups) if (group.personal) this.groups.delete(name);
    this.#reopen();
  }

  subscribe(name) {
    if (this.groups.has(name)) return;
    this.#follow(this.#note(name));
    this.#rememberGroups();
    this.onChange();
  }

  unsubscribe(name) {
    const group = this.groups.get(name);
    if (!group) return;
    this.groups.delete(name);
    unfollow(group);
    group.handle?.leave();
    this.#rememberGroups();
    this.onChange();
  }

  /** Asks again for a group that was denied. */
  retryGroup(name) {
    const group = this.groups.get(name);
    if (!group) return;
    unfollow(group);
    group.handle?.leave();
    group.denial = null;
    this.#follow(group);
    this.onChange();
  }

  /** Publishes a draft; gives the receipt `{id, position}` or throws the client's error. */
  publish({ group, kind, content, data }) {
    const handle = this.groups.get(group)?.handle;
    if (!handle) return Promise.reject(new Error('Subscribe to the group first.'));
    return handle.publish(kind, content, data ? { data } : {});
  }

  #note(name, personal = false) {
    const group = { name, personal, handle: null, undo: [], events: 0, joined: false, denial: null, presence: null, looking: false };
    this.groups.set(name, group);
    return group;
  }

  /** Asks who is there; where the policy of the group does not tell, nothing is shown. What changes meanwhile is asked for again. */
  async #lookWho(group) {
    if (group.looking) {
      group.looking = 'again';
      return;
    }
    group.looking = true;
    const { handle } = group;
    const presence = await handle.presence({ limit: 20 }).catch(() => null);
    const again = group.looking === 'again';
    group.looking = false;
    if (group.handle !== handle) return;
    group.presence = presence;
    this.onChange();
    if (again) this.#lookWho(group);
  }

  #follow(group) {
    const handle = this.#client.group(group.name);
    const tell = (type) => (detail) => {
      this.onEntry({ type, group: group.name, detail: detail ?? {}, time: new Date() });
      this.onChange();
    };
    group.handle = handle;
    group.joined = false;
    group.undo = [
      handle.on('*', (event) => {
        if (!event?.kind || event.id === undefined) return;
        group.events += 1;
        this.onEntry({ type: 'event', event });
      }),
      handle.on('joined', (detail) => {
        group.denial = null;
        tell('joined')({ ...detail, again: group.joined });
        group.joined = true;
        this.#lookWho(group);
      }),
      handle.on('presence', () => this.#lookWho(group)),
      handle.on('gap', tell('gap')),
      handle.on('interrupted', tell('interrupted')),
      handle.on('resumed', tell('resumed')),
      handle.on('denied', (detail) => {
        group.denial = detail ?? {};
        tell('denied')(detail);
      }),
    ];
  }

  #stateChanged() {
    const state = this.state;
    if (state === 'connected') {
      this.#problem = null;
      this.#followPersonal();
    }
    if (state !== this.#lastState) {
      this.#lastState = state;
      this.onEntry({ type: 'state', state, transport: this.transport, time: new Date() });
    }
    this.onChange();
  }

  // A session with a user follows the user's own group without asking; the page shows it beside the others.
  #followPersonal() {
    if (!this.user) return;
    const name = `user.${this.user}`;
    if (!this.groups.has(name)) this.#follow(this.#note(name, true));
  }

  #reopen() {
    for (const undo of this.#undo) undo();
    for (const group of this.groups.values()) unfollow(group);
    this.#client?.disconnect();
    this.open();
  }

  #rememberGroups() {
    remember(FOLLOWED, JSON.stringify([...this.groups.values()].filter((group) => !group.personal).map((group) => group.name)));
  }
}

function unfollow(group) {
  for (const undo of group.undo) undo();
  group.undo = [];
}

function followedBefore() {
  try {
    const names = JSON.parse(recall(FOLLOWED));
    return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : null;
  } catch {
    return null;
  }
}

function remember(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch {
    // Without storage the choice lasts until the next reload.
  }
}

function recall(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}
