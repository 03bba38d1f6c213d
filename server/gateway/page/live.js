// What the server is doing, as figures with their recent past. It counts; what is shown are differences.

import {getStatus} from './server.js';

const METERS = [['Waiting', 'images', 0], ['Drawing', 'images', 0], ['Batch', 'images a step', 1], ['Step', 'ms', 1]];

/** A figure with its recent past. */
class Meter {
  #past = Array(60).fill(null); #value; #path;

  constructor([name, unit, digits]) {
    const element = document.getElementById('meter').content.firstElementChild.cloneNode(true);
    element.querySelector('dt').textContent = name;
    element.querySelector('.unit').textContent = unit;
    this.#value = element.querySelector('output');
    this.#path = element.querySelector('path');
    this.digits = digits;
    document.getElementById('meters').append(element);
    this.set(null);
  }

  /** null: there is nothing to tell just now. */
  set(value) {
    this.#past = [...this.#past.slice(1), value];
    this.#value.textContent = value === null ? '–' : value.toFixed(this.digits);
    const top = Math.max(1e-9, ...this.#past);
    this.#path.setAttribute('d', `M${this.#past.map((one, i) => `${i} ${(19 - 18 * one / top).toFixed(1)}`).join('L')}`);
  }
}

/** Asks again and again, while the page is to be seen. */
export async function watchServer() {
  const meters = METERS.map((how) => new Meter(how));
  for (let before = null;;) {
    const now = document.hidden ? before : await getStatus().catch(() => null);
    if (!document.hidden) {
      const steps = now && before ? now.stepsTotal - before.stepsTotal : 0;
      const each = (total, scale) => steps > 0 ? scale * (now[total] - before[total]) / steps : null;
      const figures = [now?.queuedImages ?? null, now?.denoisingImages ?? null, each('stepRowsTotal', 1), each('stepSecondsTotal', 1000)];
      meters.forEach((meter, i) => meter.set(figures[i]));
      document.getElementById('live').classList.toggle('absent', !now);
    }
    before = now;
    await new Promise((resolve) => setTimeout(resolve, now ? 500 : 3000));
  }
}
