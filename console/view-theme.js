// The button that goes round the themes: as the system has it, light, dark. `theme.js` applies the choice on the next load.

import { byId } from './dom.js';

const KEY = 'fanfare.theme';
const THEMES = ['auto', 'light', 'dark'];

export function startThemeButton() {
  const button = byId('theme');
  const root = document.documentElement;
  const show = () => (button.textContent = `Theme: ${root.dataset.theme ?? 'auto'}`);
  button.addEventListener('click', () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? 'auto') + 1) % THEMES.length];
    if (next === 'auto') delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem(KEY, next);
    } catch {
      // Without storage the choice lasts until the next reload.
    }
    show();
  });
  show();
}
