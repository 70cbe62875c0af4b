export { createClient, Client, type ClientOptions, type State } from './client.js';
export { Group, type GroupState, type PublishOptions, type Receipt } from './group.js';
export { FanfareError } from './errors.js';
export type { FanfareEvent, Gap, Position } from './frames.js';
export type { Census, Presence, PresenceChange, PresenceOptions } from './presence.js';
export type { Endpoint, TransportName } from './transport.js';
