// Runs before the first paint, so that a page with a chosen theme never flashes in the other one.
(() => {
  'use strict';
  let chosen = null;
  try {
    chosen = localStorage.getItem('fanfare.theme');
  } catch {
    // Without storage the system's preference holds.
  }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
