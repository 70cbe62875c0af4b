// The script of an application's page, as such pages have it: it knows a WebSocket at /ws/tasks/ of its own host, and nothing of the server behind it.
'use strict';

class TaskNotifications {
  constructor() {
    this.subscribedGroups = new Set();
    this.callbacks = {};
    this.attempts = 0;
    this.maxAttempts = 5;
    this.delayMs = 3000;
    this.connect();
  }

  connect() {
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    this.socket = new WebSocket(`${scheme}//${location.host}/ws/tasks/`);
    this.socket.onopen = () => {
      this.attempts = 0;
      console.log('Connected');
      this.subscribedGroups.forEach((name) => this.send({ action: 'subscribe_group', group_name: name }));
    };
    this.socket.onmessage = ({ data }) => this.received(JSON.parse(data));
    this.socket.onclose = () => {
      if (this.attempts >= this.maxAttempts) return;
      this.attempts += 1;
      setTimeout(() => this.connect(), this.delayMs);
    };
  }

  send(object) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(object));
  }

  subscribeToGroup(name) {
    this.subscribedGroups.add(name);
    this.send({ action: 'subscribe_group', group_name: name });
    console.log(`Subscribed to group: ${name}`);
  }

  unsubscribeFromGroup(name) {
    this.subscribedGroups.delete(name);
    this.send({ action: 'unsubscribe_group', group_name: name });
  }

  subscribeToTask(id) {
    this.send({ action: 'subscribe', task_id: id });
  }

  on(type, callback) {
    (this.callbacks[type] ??= []).push(callback);
  }

  received(object) {
    if (object.type === 'group_subscription_confirmed') console.log(`Group subscription confirmed: ${object.group_name}`);
    for (const callback of [...(this.callbacks[object.type] ?? []), ...(this.callbacks['*'] ?? [])]) callback(object);
    this.show(object);
  }

  show(object) {
    if (!/^(group|user)_(message|notification|file)$/.test(object.type)) return;
    const prefix = object.group_name ? `[${object.group_name}] ` : '';
    const text = prefix + (object.title ? `${object.title}: ` : '') + object.message;
    if (object.type.endsWith('_file')) {
      const size = object.file_size ? ` (${(object.file_size / 1024 / 1024).toFixed(2)} MB)` : '';
      UiB.MsgSwall({ title: text, text: object.file_name + size, url: object.file_url });
    } else {
      const shows = { success: 'MsgSuccess', error: 'MsgError', warning: 'MsgWarning' }[object.notification_type] ?? 'MsgInfo';
      UiB[shows](text);
    }
  }
}
