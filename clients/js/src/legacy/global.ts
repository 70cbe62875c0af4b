// The script for a page: defines `taskNotifications`. `data-url` and `data-token` of its tag say where the server is and who the user is.

import { TaskNotifications } from './index.js';

const tag = document.currentScript as HTMLScriptElement | null;
const url = tag?.dataset['url'] ?? (tag?.src ? new URL(tag.src).origin : location.origin);
const token = tag?.dataset['token'];
(globalThis as { taskNotifications?: TaskNotifications }).taskNotifications = new TaskNotifications(token === undefined ? { url } : { url, token });
