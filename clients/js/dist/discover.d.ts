import type { Choice } from './choose.js';
import type { ClientOptions } from './client.js';
/** What there is to choose from: as the options say, and the rest as the server says. */
export declare function discover(own: ClientOptions, signal: AbortSignal): Promise<Choice>;
