// `taskNotifications`: the interface of the old page script, on top of the client.

import { createClient, type Client, type ClientOptions, type FanfareError, type FanfareEvent, type Group } from '../index.js';
import { show, type Ui } from './display.js';

type Callback = (data: LegacyObject) => void;

/** What old callbacks get: exactly the objects that the old server sent. */
export type LegacyObject = { type: string } & { [field: string]: unknown };

const PERSONAL = 'user.';
const TASK = 'task.';

/** The old object for an event, or null for kinds that the old page never had. */
export function legacyObject(event: FanfareEvent): LegacyObject | null {
  if (event.kind.startsWith(TASK)) {
    const fields = typeof event.body === 'object' && event.body !== null ? event.body : {};
    return { ...fields, type: event.kind.replace('.', '_') };
  }
  const own = event.group.startsWith(PERSONAL);
  const scope = own ? 'user' : 'group';
  const whose = own ? { username: event.group.slice(PERSONAL.length) } : { group_name: event.group };
  const rest = { data: event.data ?? {}, timestamp: event.timestamp.toISOString() };
  const message = event.message ?? '';
  switch (event.kind) {
    case 'message': return { type: `${scope}_message`, ...whose, message, ...rest };
    case 'notification': return { type: `${scope}_notification`, ...whose, notification_type: event.type ?? 'info', title: event.title ?? '', message, ...rest };
    case 'file': return { type: `${scope}_file`, ...whose, message, file_url: event.url ?? '', file_name: event.name ?? '', file_size: event.size ?? null, ...rest };
    default: return null;
  }
}

/** Connects as soon as it is made, as the old script did: what is for the user comes without asking. */
export class TaskNotifications {
  /** The groups that are followed. */
  readonly subscribedGroups = new Set<string>();
  readonly client: Client;
  readonly #callbacks = new Map<string, Set<Callback>>();
  readonly #groups = new Map<string, Group>();
  readonly #ui: () => Ui | undefined;

  constructor(options: ClientOptions & { ui?: () => Ui | undefined } = {}) {
    this.client = createClient(options);
    this.#ui = options.ui ?? (() => (globalThis as { UiB?: Ui }).UiB);
    this.client.on('*', (event: FanfareEvent) => this.#received(event));
    // How it goes on is the client's affair: it comes back by itself.
    this.client.connect().catch(() => {});
  }

  /** Follows a group, now or as soon as there is a connection. */
  subscribeToGroup(name: string): void {
    if (this.subscribedGroups.has(name)) return;
    this.subscribedGroups.add(name);
    const group = this.client.group(name);
    this.#groups.set(name, group);
    group.on('joined', () => console.log(`Group subscription confirmed: ${name}`));
    group.on('denied', ({ reason }: FanfareError) => console.warn(`Group subscription refused: ${name}: ${reason}`));
    console.log(`Subscribed to group: ${name}`);
  }

  unsubscribeFromGroup(name: string): void {
    if (!this.subscribedGroups.delete(name)) return;
    this.#groups.get(name)?.leave();
    this.#groups.delete(name);
    console.log(`Unsubscribed from group: ${name}`);
  }

  /** Follows one task. */
  subscribe(taskId: string): void {
    const name = TASK + taskId;
    if (!this.#groups.has(name)) this.#groups.set(name, this.client.group(name));
  }

  unsubscribe(taskId: string): void {
    this.#groups.get(TASK + taskId)?.leave();
    this.#groups.delete(TASK + taskId);
  }

  /** Calls back for objects of a type (`group_message` …), or for all (`*`). */
  on(type: string, callback: Callback): void {
    const set = this.#callbacks.get(type) ?? new Set();
    this.#callbacks.set(type, set.add(callback));
  }

  off(type: string, callback: Callback): void {
    this.#callbacks.get(type)?.delete(callback);
  }

  #received(event: FanfareEvent): void {
    const object = legacyObject(event);
    if (object === null) return;
    for (const callback of [...(this.#callbacks.get(object.type) ?? []), ...(this.#callbacks.get('*') ?? [])]) {
      try {
        callback(object);
      } catch (error) {
        this.client.failed(error);
      }
    }
    show(object, this.#ui());
  }
}
